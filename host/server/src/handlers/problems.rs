//! `GET /problems/{code}`: a help page for each kind of problem.

use crate::capabilities::signing;
use crate::{access, audit};
use bulkhead_http::{
    Problem, ProblemKind, Response, envelope_kinds, json_response, negotiate, problem_kind,
    response,
};
use hyper::header::{CONTENT_SECURITY_POLICY, HeaderValue, VARY};
use hyper::{HeaderMap, StatusCode};
use serde_json::json;

const OFFERED: [&str; 2] = ["application/json", "text/html"];

/// Returns all kinds of problems.
pub(crate) fn kinds() -> impl Iterator<Item = &'static ProblemKind> {
    let modules = [
        envelope_kinds::KINDS,
        problem_kind::KINDS,
        access::PROBLEM_KINDS,
        audit::PROBLEM_KINDS,
        signing::PROBLEM_KINDS,
    ];
    modules.into_iter().flatten()
}

/// Returns the help page of the kind with this code, as JSON or HTML.
///
/// # Errors
/// 404 if there is no such kind, and 406 if `Accept` excludes both forms.
pub(crate) fn page(headers: &HeaderMap, code: &str) -> Result<Response, Problem> {
    let kind = kinds().find(|kind| kind.code == code).ok_or_else(|| {
        Problem::new(
            &problem_kind::NOT_FOUND,
            "This code of a problem does not exist. Use the path in the member \"type\" of a problem document.",
        )
    })?;
    let mut page = match negotiate(headers, &OFFERED)? {
        0 => json_response(
            StatusCode::OK,
            &json!({
                "type": kind.path(),
                "title": kind.title,
                "status": kind.status,
                "code": kind.code,
                "meaning": kind.meaning,
                "causes": kind.causes,
                "remedy": kind.remedy,
            }),
        ),
        _ => response(StatusCode::OK, "text/html; charset=utf-8", html(kind)),
    };
    let headers = page.headers_mut();
    headers.insert(VARY, HeaderValue::from_static("Accept"));
    headers.insert(
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'"),
    );
    Ok(page)
}

fn html(kind: &ProblemKind) -> String {
    let ProblemKind {
        status,
        code,
        title,
        meaning,
        causes,
        remedy,
    } = kind;
    let [meaning, causes, remedy] = [meaning, causes, remedy].map(|text| markup(text));
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{title} - Bulkhead</title>\n\
         <h1>{title}</h1>\n<p>Status {status}, code <code>{code}</code></p>\n\
         <h2>Meaning</h2>\n<p>{meaning}</p>\n\
         <h2>Causes</h2>\n<p>{causes}</p>\n\
         <h2>Remedy</h2>\n<p>{remedy}</p>\n</html>\n"
    )
}

/// Returns the text with code between backticks marked up. The texts are constants without the characters
/// `<`, `>` and `&`, which a test checks.
fn markup(text: &str) -> String {
    let mut parts = text.split('`');
    let mut marked = parts.next().unwrap_or_default().to_owned();
    for (at, part) in parts.enumerate() {
        marked += if at % 2 == 0 { "<code>" } else { "</code>" };
        marked += part;
    }
    marked
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::fmt::Write as _;

    #[test]
    fn texts_are_safe_in_html_and_codes_are_unique() {
        let mut codes = BTreeSet::new();
        for kind in kinds() {
            assert!(codes.insert(kind.code), "{} is defined twice", kind.code);
            for text in [kind.title, kind.meaning, kind.causes, kind.remedy] {
                assert!(!text.contains(['<', '>', '&']), "{text}");
                assert_eq!(text.matches('`').count() % 2, 0, "{text}");
            }
            for text in [kind.meaning, kind.causes, kind.remedy] {
                assert!(text.ends_with('.'), "{text}");
            }
        }
    }

    #[test]
    fn code_in_backticks_is_marked_up() {
        assert_eq!(markup("`a` and `b`."), "<code>a</code> and <code>b</code>.");
        assert_eq!(markup("none"), "none");
    }

    /// The page of the reference is generated. `BULKHEAD_TEST_WRITE=1` writes it.
    #[test]
    fn reference_page_lists_all_kinds() {
        let mut page = String::from(
            "# Error codes\n\n\
             Every error is a problem document (RFC 9457, `application/problem+json`). `code` is stable and meant for programs. `detail` says\n\
             what is wrong and what to do. `type` is the path of a help page, such as `/problems/not_openpgp`, which the server returns as\n\
             JSON or, with `Accept: text/html`, as HTML.\n\n\
             A test of the server generates this page.\n\n\
             | status | `code` | meaning | causes | remedy |\n|---|---|---|---|---|\n",
        );
        let mut kinds: Vec<_> = kinds().collect();
        kinds.sort_by_key(|kind| kind.status);
        for kind in kinds {
            let ProblemKind {
                status,
                code,
                meaning,
                causes,
                remedy,
                ..
            } = kind;
            writeln!(
                page,
                "| {status} | `{code}` | {meaning} | {causes} | {remedy} |"
            )
            .expect("text should be writable");
        }
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../docs/reference/problems.md"
        );
        if std::env::var_os("BULKHEAD_TEST_WRITE").is_some() {
            std::fs::write(path, &page).expect("page should be writable");
            return;
        }
        let current = include_str!("../../../../docs/reference/problems.md");
        assert!(
            current == page,
            "docs/reference/problems.md is out of date: BULKHEAD_TEST_WRITE=1 cargo test --release -p bulkhead \
             reference_page"
        );
    }
}
