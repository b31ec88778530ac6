//! `docs/reference/api.md` is generated from `openapi.yaml`. `BULKHEAD_TEST_WRITE=1` writes it.

use bulkhead_tests::description::document;
use serde_json::{Map, Value};

const PAGE: &str = include_str!("../../../docs/reference/api.md");

const HEAD: &str = "# HTTP interface\n\n\
    <!-- A test generates this page from openapi.yaml. -->\n\n\
    This page lists every route, as [`openapi.yaml`](../../openapi.yaml) describes it. A running server serves the description at\n\
    `/openapi.yaml` and `/openapi.json`. [The guide](../guide.md) explains the routes with examples, and\n\
    [problems.md](problems.md) lists the error codes.\n\n";

/// Returns the value that a reference names, or the value itself.
fn resolved(value: &'static Value) -> &'static Value {
    let reference = value["$ref"].as_str();
    reference.map_or(value, |reference| {
        let found = document().pointer(&reference[1..]);
        found.unwrap_or_else(|| panic!("{reference} should exist"))
    })
}

fn object(value: &'static Value) -> impl Iterator<Item = (&'static str, &'static Value)> {
    let members = value.as_object().into_iter().flat_map(Map::iter);
    members.map(|(name, value)| (name.as_str(), value))
}

fn text(value: &'static Value) -> &'static str {
    value.as_str().unwrap_or_default().trim_end()
}

fn code(name: &str) -> String {
    format!("`{name}`")
}

fn codes<'a>(names: impl Iterator<Item = &'a str>, between: &str) -> String {
    names.map(code).collect::<Vec<_>>().join(between)
}

/// Returns a text as a cell of a table.
fn cell(text: &str) -> String {
    text.split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .replace('|', "\\|")
}

/// Returns the types of a schema, such as `string or null`.
fn types(schema: &'static Value) -> String {
    let schema = resolved(schema);
    match &schema["type"] {
        Value::Array(types) => types.iter().map(text).collect::<Vec<_>>().join(" or "),
        Value::Null if schema["enum"].is_array() || schema["const"].is_string() => "string".into(),
        kind => text(kind).to_owned(),
    }
}

/// Returns the description of a schema, or its possible values.
fn meaning(schema: &'static Value) -> String {
    let schema = resolved(schema);
    let values = schema["enum"].as_array().into_iter().flatten();
    let values = codes(
        values.chain([&schema["const"]]).filter_map(Value::as_str),
        ", ",
    );
    let texts = [cell(text(&schema["description"])), values];
    texts
        .into_iter()
        .filter(|text| !text.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

/// Returns the scopes that open an operation.
fn scopes(operation: &'static Value) -> String {
    let entries = operation["security"].as_array().into_iter().flatten();
    let scopes = entries.flat_map(|entry| entry["accessKey"].as_array().into_iter().flatten());
    match codes(scopes.map(text), " or ") {
        none if none.is_empty() => "none: the route is always open".into(),
        scopes => scopes,
    }
}

fn parameters(all: &[&'static Value]) -> String {
    if all.is_empty() {
        return String::new();
    }
    let mut table = String::from("| parameter | place | required | meaning |\n|---|---|---|---|\n");
    for &parameter in all {
        let parameter = resolved(parameter);
        let required = if parameter["required"] == true {
            "yes"
        } else {
            ""
        };
        table += &row(&[
            &code(text(&parameter["name"])),
            text(&parameter["in"]),
            required,
            &cell(text(&parameter["description"])),
        ]);
    }
    table + "\n"
}

fn row(cells: &[&str]) -> String {
    let cells = cells.iter().map(|cell| match *cell {
        "" => " ".to_owned(),
        cell => format!(" {cell} "),
    });
    format!("|{}|\n", cells.collect::<Vec<_>>().join("|"))
}

/// Describes the body of a request: its media types, and the fields of JSON.
fn body(body: &'static Value) -> String {
    let content = &body["content"];
    if !content.is_object() {
        return String::new();
    }
    let mut page = format!(
        "Request body: {}.\n\n",
        codes(object(content).map(|(name, _)| name), ", ")
    );
    let schema = resolved(&content["application/json"]["schema"]);
    if schema["properties"].is_object() {
        page += "| field | type | meaning |\n|---|---|---|\n";
        for (name, property) in object(&schema["properties"]) {
            page += &row(&[&code(name), &types(property), &meaning(property)]);
        }
        page.push('\n');
    }
    page
}

/// Returns the media types of a response, except for those of problem documents, and the fields of JSON.
fn content(response: &'static Value) -> String {
    let content = &response["content"];
    let names = object(content).map(|(name, _)| name);
    let names = codes(
        names.filter(|name| *name != "application/problem+json"),
        ", ",
    );
    let schema = resolved(&content["application/json"]["schema"]);
    let fields = codes(object(&schema["properties"]).map(|(name, _)| name), ", ");
    match (names.as_str(), fields.as_str()) {
        ("", _) => String::new(),
        (names, "") => format!(" ({names})"),
        (names, fields) => format!(" ({names} with {fields})"),
    }
}

/// Returns an item of a list. Further lines of the text, such as a list of codes, are indented below it.
fn item(title: &str, text: &str) -> String {
    if text.starts_with("- ") || text.contains("\n- ") {
        let text = text.replace('\n', "\n  ");
        format!("- {title}:\n  {text}\n")
    } else {
        format!("- {title}: {}\n", text.replace('\n', " "))
    }
}

/// Returns the item of a response. Responses that several operations share are described at the end of the page.
fn response(status: &str, response: &'static Value) -> String {
    let content = content(resolved(response));
    match response["$ref"].as_str() {
        Some(reference) => {
            let name = reference.rsplit('/').next().unwrap_or(reference);
            format!("- {status}: [{name}](#{}){content}\n", name.to_lowercase())
        }
        None => item(&[status, &content].concat(), text(&response["description"])),
    }
}

fn responses(operation: &'static Value) -> String {
    let all = object(&operation["responses"]);
    let all: String = all.map(|(status, one)| response(status, one)).collect();
    ["Responses:\n\n", &all, "\n"].concat()
}

fn section(title: &str, common: &'static Value, operation: &'static Value) -> String {
    let summary = text(&operation["summary"]);
    let mut page = format!("## {title}\n\n{summary}.\n\n");
    let description = text(&operation["description"]);
    if !description.is_empty() {
        page += &[description, "\n\n"].concat();
    }
    let all = [common, &operation["parameters"]].map(|list| list.as_array());
    let all: Vec<_> = all.into_iter().flatten().flatten().collect();
    page + &parameters(&all) + &body(&operation["requestBody"]) + &responses(operation)
}

/// Returns the whole page.
fn page() -> String {
    let operations = || {
        object(&document()["paths"]).flat_map(|(path, methods)| {
            let methods_only = object(methods).filter(|(name, _)| *name != "parameters");
            methods_only.map(move |(method, operation)| {
                let title = format!("`{} {path}`", method.to_uppercase());
                (title, &methods["parameters"], operation)
            })
        })
    };
    let mut page = format!("{HEAD}{}\n\n", text(&document()["info"]["description"]));
    page += "| route | scopes | purpose |\n|---|---|---|\n";
    for (title, _, operation) in operations() {
        page += &row(&[&title, &scopes(operation), text(&operation["summary"])]);
    }
    page.push('\n');
    for (title, common, operation) in operations() {
        page += &section(&title, common, operation);
    }
    for (_, webhook) in object(&document()["webhooks"]) {
        page += &section("Webhooks", &webhook["parameters"], &webhook["post"]);
    }
    page += "## Common responses\n\n";
    for (name, response) in object(&document()["components"]["responses"]) {
        let description = text(&response["description"]);
        page += &["### ", name, "\n\n", description, "\n\n"].concat();
        let headers = object(&response["headers"]).map(|(name, _)| name);
        let headers = codes(headers, ", ");
        if !headers.is_empty() {
            page += &["Headers: ", &headers, ".\n\n"].concat();
        }
    }
    page.trim_end().to_owned() + "\n"
}

#[test]
fn api_reference_page_equals_the_description() {
    let page = page();
    if std::env::var_os("BULKHEAD_TEST_WRITE").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/api.md");
        std::fs::write(path, &page).expect("source tree should be writable");
        return;
    }
    for (number, (line, current)) in page.lines().zip(PAGE.lines()).enumerate() {
        assert_eq!(line, current, "line {} of {OUT_OF_DATE}", number + 1);
    }
    assert!(page == PAGE, "the length of {OUT_OF_DATE}");
}

const OUT_OF_DATE: &str = "docs/reference/api.md is out of date: BULKHEAD_TEST_WRITE=1 cargo test --release --locked \
    --test blackbox -- api_reference_page";
