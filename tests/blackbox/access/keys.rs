//! The file of access keys: at start, while it changes, and on the command line.

use super::{KeyFile, file_argument, is_accepted, new_key, send};
use bulkhead_tests::server::{Server, run};
use bulkhead_tests::until;
use serde_json::json;

/// Returns the output of a command: whether it succeeded, standard output and standard error.
fn output(arguments: &[&str], variables: &[(&str, &str)]) -> (bool, String, String) {
    let output = run(arguments, variables);
    let text = |bytes| String::from_utf8(bytes).expect("output should be UTF-8");
    (
        output.status.success(),
        text(output.stdout),
        text(output.stderr),
    )
}

/// A fault of the file, with a function that makes it. The file has the entries that it should have before.
type Fault = (&'static str, fn(&KeyFile));

/// The faults that stop the start, and leave the last good keys active later.
const FAULTS: [Fault; 10] = [
    ("deleted", |file| {
        std::fs::remove_file(file.path()).expect("file should be removed");
    }),
    ("cut off", |file| {
        let text = file.text();
        file.write_text(&text[..text.len() / 2]);
    }),
    ("without its last byte", |file| {
        let text = file.text();
        file.write_text(&text[..text.len() - 1]);
    }),
    ("unreadable", |file| {
        std::fs::remove_file(file.path()).expect("file should be removed");
        // Unlike missing rights, a link to itself stops the superuser too.
        std::os::unix::fs::symlink(file.path(), file.path()).expect("link should be created");
    }),
    ("replaced by a folder", |file| {
        std::fs::remove_file(file.path()).expect("file should be removed");
        std::fs::create_dir(file.path()).expect("folder should be created");
    }),
    ("too large", |file| {
        file.write_text(&(file.text() + &" ".repeat(1 << 20)));
    }),
    ("with a syntax error beside a revocation", |file| {
        let (_revoked, rest) = file.entries.split_last().expect("there should be entries");
        let text = json!({"entries": rest}).to_string();
        file.write_text(&text.replace("]}]}", "]},]}"));
    }),
    ("with an unknown field", |file| {
        file.write_text(&file.text().replace("\"name\"", "\"nme\""));
    }),
    ("with a key instead of its digest", |file| {
        let mut entries = json!(file.entries);
        entries[0]["keys"][0]["sha256"] = json!(SECRET_LIKE_KEY);
        file.write_text(&json!({"entries": entries}).to_string());
    }),
    ("with a key in the wrong place", |file| {
        let mut entries = json!(file.entries);
        entries[0]["keys"][0] = json!(SECRET_LIKE_KEY);
        file.write_text(&json!({"entries": entries}).to_string());
    }),
];

/// Stands for a key that was pasted into the file.
const SECRET_LIKE_KEY: &str = "bh_pasted";

/// Removes the file, or the link or the folder in its place, and writes a good one.
fn repair(file: &KeyFile) {
    let path = file.path();
    let _nothing_else = std::fs::remove_file(&path).or_else(|_| std::fs::remove_dir(&path));
    file.write();
}

#[test]
fn faulty_file_stops_the_start() {
    let mut file = KeyFile::new();
    let keys = [file.add("a", &["token:make"]), file.add("b", &["observe"])];
    let path = file.path();
    let arguments = [
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--access-keys",
        file_argument(&path),
    ];
    for (fault, make) in FAULTS {
        repair(&file);
        make(&file);
        let (success, _, log) = output(&arguments, &[]);
        assert!(!success && log.contains("--access-keys"), "{fault}: {log}");
        assert!(!log.contains("\"serving\""), "{fault}: {log}");
        for secret in [keys[0].as_str(), &keys[1], SECRET_LIKE_KEY] {
            assert!(!log.contains(secret), "{fault}: {log}");
        }
    }
}

#[test]
fn empty_file_accepts_no_key() {
    let file = KeyFile::new();
    let (key, _) = new_key("a", &["token:make"]);
    assert!(!is_accepted(&file.start(), &key));
    for text in ["", " \n"] {
        let server = file.start_with_text(text);
        assert!(!is_accepted(&server, &key), "{text:?}");
    }
}

#[test]
fn empty_variable_of_a_protection_is_an_error() {
    for name in [
        "ACCESS_KEYS",
        "AUDIT_LOG",
        "TLS_CERT",
        "TLS_KEY",
        "TLS_CLIENT_CA",
    ] {
        let variable = format!("BULKHEAD_{name}");
        let output = run(&["check-config"], &[(&variable, "")]);
        assert!(!output.status.success(), "{name}");
        let flag = format!("--{}", name.to_lowercase().replace('_', "-"));
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        assert!(text.contains(&flag), "{name}: {text}");
    }
}

#[test]
fn faulty_file_at_reload_leaves_the_last_keys_active_and_degrades_health() {
    let mut file = KeyFile::new();
    let observer = file.add("ops", &["observe"]);
    let key = file.add("a", &["token:make"]);
    let server = file.start();
    let health = || send(&server, &observer, "GET", "/health").json();
    let failures = || {
        let metrics = send(&server, &observer, "GET", "/metrics").json();
        let metrics = metrics["metrics"]
            .as_array()
            .expect("metrics should be an array")
            .clone();
        let samples = metrics
            .iter()
            .filter_map(|metric| metric["samples"].as_array())
            .flatten();
        let mut samples =
            samples.filter(|it| it["name"] == "bulkhead_access_reload_failures_total");
        let sample = samples.next().expect("there should be a sample");
        sample["value"]
            .as_u64()
            .expect("value should be an integer")
    };
    for (fault, make) in FAULTS {
        let count = failures();
        make(&file);
        server.signal("HUP");
        until(fault, || health()["access"]["status"] == "failing");
        let document = health();
        assert_eq!(document["status"], "degraded", "{fault}");
        assert_eq!(document["access"]["entries"], 2, "{fault}");
        assert!(!document.to_string().contains(SECRET_LIKE_KEY), "{fault}");
        assert!(is_accepted(&server, &key), "{fault}");
        assert!(failures() > count, "{fault}");
        // A caller without the scope sees the status, and not the reason.
        assert_eq!(
            server.get("GET", "/health").json(),
            json!({"status": "degraded"})
        );
        repair(&file);
        server.signal("HUP");
        until("the file is good again", || health()["status"] == "ok");
    }
    let log = server.log();
    assert!(log.contains("cannot read access keys again"), "{log}");
    assert!(!log.contains(SECRET_LIKE_KEY), "{log}");

    file.write_text("");
    server.signal("HUP");
    until("no key is valid", || !is_accepted(&server, &key));
}

/// Without a signal, and with the links that Kubernetes switches.
#[test]
fn changed_file_is_read_again_and_keys_rotate() {
    let mut file = KeyFile::new();
    let old = file.add("a", &["token:make"]);
    let (new, entry) = new_key("a", &["token:make"]);
    let folder = file.folder.path();
    let version = |number: u32, text: &str| {
        let version = folder.join(number.to_string());
        std::fs::create_dir(&version).expect("folder should be created");
        std::fs::write(version.join("keys.json"), text).expect("file should be written");
        let next = folder.join("next");
        std::os::unix::fs::symlink(&version, &next).expect("link should be created");
        std::fs::rename(&next, folder.join("data")).expect("link should be switched");
    };
    version(1, &file.text());
    let link = folder.join("data/keys.json");
    let server = Server::start_with(
        &["--access-keys", file_argument(&link)],
        &[("SECRET", "a secret of more than thirty-two bytes")],
    );
    assert!(is_accepted(&server, &old) && !is_accepted(&server, &new));
    let mut entries = json!([file.entries[0].clone()]);
    entries[0]["keys"]
        .as_array_mut()
        .expect("keys should be an array")
        .push(entry["keys"][0].clone());
    version(2, &json!({"entries": entries}).to_string());
    until("the new key is accepted", || is_accepted(&server, &new));
    assert!(is_accepted(&server, &old));
    version(3, &json!({"entries": [entry]}).to_string());
    until("the old key is rejected", || !is_accepted(&server, &old));
    assert!(is_accepted(&server, &new));
}

#[test]
fn command_line_lists_and_checks_keys() {
    let mut file = KeyFile::new();
    let key = file.add("ci", &["decrypt", "token:make"]);
    let (expired, mut entry) = new_key("old", &["sign"]);
    entry["keys"][0]["expires"] = json!("2020-01-01");
    file.entries.push(entry);
    file.write();
    let path = file.path();
    let with_file = |command| ["access-key", command, "--access-keys", file_argument(&path)];
    let (success, lines, _) = output(&with_file("list"), &[]);
    assert!(success);
    let lines: Vec<_> = lines.lines().collect();
    assert_eq!(lines.len(), 2);
    assert!(
        lines[0].starts_with("ci  ") && lines[0].ends_with("does not expire  decrypt token:make")
    );
    assert!(
        lines[1].contains("expired 2020-01-01T00:00:00Z"),
        "{lines:?}"
    );

    let check = |key: Option<&str>| {
        let variables: Vec<_> = key
            .map(|key| ("BULKHEAD_ACCESS_KEY", key))
            .into_iter()
            .collect();
        output(&with_file("check"), &variables)
    };
    assert!(check(None).0);
    let (success, text, _) = check(Some(&key));
    assert!(success && text.contains("belongs to ci"), "{text}");
    let (unknown, _) = new_key("x", &["sign"]);
    for (other, why) in [
        (expired.as_str(), "has expired"),
        (&unknown, "is not in"),
        (&key[..51], "is not an access key"),
    ] {
        let (success, _, error) = check(Some(other));
        assert!(!success && error.contains(why), "{error}");
        assert!(!error.contains(other), "{error}");
    }
    file.write_text("{");
    assert!(!check(None).0);
    let (success, report, _) = output(
        &["check-config", "--access-keys", file_argument(&path)],
        &[],
    );
    assert!(
        !success && report.contains("problem: --access-keys"),
        "{report}"
    );
}

#[test]
fn new_key_needs_a_name_a_scope_and_a_future_expiry() {
    let with_name = ["access-key", "new", "--name"];
    for arguments in [
        &["a"][..],
        &["a b", "--scope", "sign"],
        &["", "--scope", "sign"],
        &["a", "--scope", "everything"],
        &["a", "--scope", "sign", "--expires", "2020-01-01"],
        &["a", "--scope", "sign", "--expires", "soon"],
    ] {
        let (success, text, error) = output(&[&with_name, arguments].concat(), &[]);
        assert!(
            !success && text.is_empty() && !error.is_empty(),
            "{arguments:?}"
        );
    }
    let far = ["a", "--scope", "sign", "--expires", "2999-01-01"];
    let (success, text, _) = output(&[&with_name[..], &far].concat(), &[]);
    assert!(
        success && text.contains("\"expires\": \"2999-01-01\""),
        "{text}"
    );
}

#[test]
fn component_list_sends_the_access_key_of_its_variable() {
    let mut file = KeyFile::new();
    let key = file.add("ops", &["observe"]);
    let other = file.add("ci", &["decrypt"]);
    let server = file.start();
    let address = server.address.to_string();
    let list = |key: Option<&str>| {
        let variables: Vec<_> = key
            .map(|key| ("BULKHEAD_ACCESS_KEY", key))
            .into_iter()
            .collect();
        output(&["component", "list", "--listen", &address], &variables)
    };
    let (success, text, error) = list(Some(&key));
    assert!(success && text.contains("decrypt"), "{text}{error}");
    for key in [None, Some(other.as_str())] {
        let (success, _, error) = list(key);
        assert!(!success && error.contains("BULKHEAD_ACCESS_KEY"), "{error}");
        assert!(error.contains("observe"), "{error}");
    }
    let (success, _, error) = output(&["healthcheck", "--listen", &address], &[]);
    assert!(success, "{error}");
}

#[test]
fn entries_and_their_use_are_listed_for_administrators() {
    let mut file = KeyFile::new();
    let admin = file.add("ops", &["admin", "observe"]);
    let key = file.add("ci", &["token:make"]);
    let (second, entry) = new_key("ci", &["token:make"]);
    let mut new = entry["keys"][0].clone();
    new["expires"] = json!("2999-01-01");
    file.entries[1]["keys"]
        .as_array_mut()
        .expect("keys should be an array")
        .push(new);
    let server = file.start();
    let list = || send(&server, &admin, "GET", "/access-keys").json();
    let before = &list()["entries"][1];
    assert_eq!(
        (&before["requests"], &before["last_used"]),
        (&json!(0), &json!(null))
    );
    for key in [&key, &second] {
        assert_eq!(send(&server, key, "POST", "/token").status, 200);
    }
    assert_eq!(send(&server, &key, "GET", "/access-keys").status, 403);
    let document = list();
    assert_eq!(document["status"], "ok");
    let ci = &document["entries"][1];
    assert_eq!(ci["name"], "ci");
    assert_eq!(ci["scopes"], json!(["token:make"]));
    assert_eq!((&ci["requests"], &ci["rejections"]), (&json!(2), &json!(1)));
    assert!(ci["last_used"].is_string());
    assert_eq!(ci["keys"][0]["expires"], json!(null));
    assert_eq!(ci["keys"][1]["expires"], "2999-01-01T00:00:00Z");
    let text = document.to_string();
    for key in [&admin, &key, &second] {
        assert!(!text.contains(key.as_str()));
    }

    // The counts continue, and a removed entry disappears.
    file.entries[1]["scopes"] = json!(["sign"]);
    file.entries.push(new_key("new", &["sign"]).1);
    file.write();
    until("the new entry is listed", || {
        list()["entries"][2].is_object()
    });
    assert_eq!(list()["entries"][1]["requests"], 2);
    assert_eq!(list()["entries"][2]["requests"], 0);
    file.entries.truncate(1);
    file.write();
    until("the entries are removed", || list()["entries"][1].is_null());
    let metrics = send(&server, &admin, "GET", "/metrics").json().to_string();
    assert!(metrics.contains("\"name\":\"ops\"") && !metrics.contains("\"name\":\"ci\""));
}

#[test]
fn open_server_lists_no_entries() {
    let list = Server::shared().get("GET", "/access-keys").json();
    assert_eq!(list, json!({"status": "open", "entries": []}));
}
