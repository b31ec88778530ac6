//! Files that are removed, moved or replaced while the store is open.

use super::*;
use crate::listed::assert_listed;
use crate::{StoreFile, Unavailable};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;

fn lost_file<T>(result: Result<T>) -> Option<StoreFile> {
    match result.err()? {
        StoreError::Unavailable(Unavailable::FileLost(file)) => Some(file),
        _ => None,
    }
}

fn open(path: &Path) -> Sqlite {
    Sqlite::open(path, BOOT, QUOTA, at(0, 0), WAITING_MAX).expect("store should open")
}

fn accept(store: &Sqlite, number: u128) -> Result<Accepted> {
    let new = new_request(number, &format!("message {number}"), None);
    wait(store.accept(new, UNBOUNDED, at(0, 0)))
}

/// Returns whether a store contains the request with this number.
fn contains(path: &Path, number: u128) -> bool {
    let copy = Sqlite::inspect(path, BOOT, QUOTA, at(0, 0)).expect("copy should open");
    let id = RequestId::new(UnixMillis(0), number);
    let request = wait(copy.request(id, Viewer::All, at(0, 0)));
    request.expect("copy should respond").is_some()
}

#[test]
fn write_fails_and_data_is_copied_after_a_file_is_lost() {
    type Change = fn(&Path);
    let changes: [(StoreFile, &str, Change); 5] = [
        (StoreFile::Database, "db", |path| {
            fs::remove_file(path).expect("file should be removed");
        }),
        (StoreFile::Database, "db", |path| {
            fs::rename(path, path.with_extension("moved")).expect("file should be moved");
        }),
        (StoreFile::Database, "db", |path| {
            let other = path.with_extension("other");
            fs::copy(path, &other).expect("file should be copied");
            fs::rename(other, path).expect("file should be replaced");
        }),
        (StoreFile::WriteAheadLog, "db-wal", |path| {
            fs::remove_file(path).expect("file should be removed");
        }),
        (StoreFile::Index, "db-shm", |path| {
            fs::remove_file(path).expect("file should be removed");
        }),
    ];
    for (file, name, change) in changes {
        let parent = folder();
        // The name of a folder need not be UTF-8.
        let folder = parent.path().join(OsStr::from_bytes(b"\xff"));
        fs::create_dir(&folder).expect("folder should be created");
        let path = folder.join("db");
        let store = open(&path);
        accept(&store, 1).expect("request should be stored");
        let earlier = folder.join("db.rescue-1");
        fs::write(&earlier, "another file").expect("file should be written");
        change(&folder.join(name));
        let rejected = accept(&store, 2).expect_err("request should be rejected");
        let situation = match file {
            StoreFile::Database => "store without its file",
            StoreFile::WriteAheadLog => "store without its write-ahead log",
            StoreFile::Index => "store without the index of its write-ahead log",
        };
        assert_listed(situation, &rejected, &[]);
        assert_eq!(lost_file::<()>(Err(rejected)), Some(file));
        assert_eq!(lost_file(wait(store.heartbeat(at(0, 0)))), Some(file));
        drop(store);
        let copy = folder.join("db.rescue-2");
        assert!(contains(&copy, 1) && !contains(&copy, 2), "{name}");
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &fs::metadata(&copy)
                .expect("copy should exist")
                .permissions(),
        );
        assert_eq!(mode & 0o077, 0, "{mode:o}");
        let earlier = fs::read(&earlier).expect("file should be readable");
        assert_eq!(earlier, b"another file");
        assert!(!folder.join("db.rescue-3").exists());
    }
}

#[test]
fn file_lost_before_the_commit_fails_the_operation() {
    let folder = folder();
    let path = folder.path().join("db");
    let store = open(&path);
    let removed = path.clone();
    let call = store.writer.call(move |database| {
        let new = new_request(1, "m", None);
        database.accept(&new, Fingerprint::of("m"), UNBOUNDED, at(0, 0))?;
        fs::remove_file(&removed).expect("file should be removed");
        Ok(())
    });
    assert_eq!(lost_file(wait(Box::pin(call))), Some(StoreFile::Database));
    drop(store);
    assert!(contains(&folder.path().join("db.rescue-1"), 1));
}

#[test]
fn store_works_again_when_its_file_is_moved_back() {
    let folder = folder();
    let path = folder.path().join("db");
    let away = folder.path().join("away");
    let store = open(&path);
    for number in 1..3 {
        fs::rename(&path, &away).expect("file should be moved");
        assert!(lost_file(accept(&store, number)).is_some());
        fs::rename(&away, &path).expect("file should be moved");
        accept(&store, number).expect("request should be stored");
    }
    wait(store.close()).expect("store should be closed");
    assert!(contains(&path, 1) && contains(&path, 2));
}

/// SQLite removes the log by its name when it closes a database. After a replacement that would be the log of
/// another database.
#[test]
fn close_leaves_the_files_of_a_new_database_unchanged() {
    let folder = folder();
    let path = folder.path().join("db");
    let store = open(&path);
    accept(&store, 1).expect("request should be stored");
    for name in ["db", "db-wal", "db-shm"] {
        let file = folder.path().join(name);
        fs::remove_file(&file).expect("file should be removed");
        fs::write(&file, name).expect("file should be written");
    }
    assert!(lost_file(wait(store.close())).is_some());
    drop(store);
    for name in ["db", "db-wal", "db-shm"] {
        let content = fs::read(folder.path().join(name)).expect("file should be readable");
        assert_eq!(content, name.as_bytes());
    }
    assert!(contains(&folder.path().join("db.rescue-1"), 1));
}

#[test]
fn symbolic_link_that_leads_elsewhere_is_a_loss() {
    let folder = folder();
    let (path, link) = (folder.path().join("db"), folder.path().join("link"));
    fs::write(&path, "").expect("file should be written");
    std::os::unix::fs::symlink(&path, &link).expect("link should be created");
    let store = open(&link);
    accept(&store, 1).expect("request should be stored");
    fs::remove_file(&link).expect("link should be removed");
    fs::write(&link, "").expect("file should be written");
    assert_eq!(lost_file(accept(&store, 2)), Some(StoreFile::Database));
}
