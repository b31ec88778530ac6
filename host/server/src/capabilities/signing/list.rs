//! The list of signing requests.

use super::parameters::List;
use super::problems::{self, problem};
use super::{document, look_up_until};
use bulkhead_http::{Problem, Response, json_response};
use bulkhead_relay::{Environment, Relay};
use bulkhead_store::{RequestId, RequestQuery, RequestView, Viewer};
use hyper::StatusCode;
use hyper::http::request::Parts;
use serde_json::{Value, json};

/// Responds to `GET /crypto/requests` with a page of the requests that the viewer may see.
///
/// # Errors
/// 400 if a parameter is malformed. 404 if `after` does not exist for the viewer. 503 if the store fails.
pub(super) async fn list<W: Environment>(
    relay: &Relay<W>,
    viewer: Viewer,
    head: &Parts,
) -> Result<Response, Problem> {
    let list = List::from_query(head.uri.query().unwrap_or_default())?;
    let viewer = match (viewer, list.owner) {
        (viewer, None) => viewer,
        (Viewer::All, Some(owner)) => Viewer::Owner(owner),
        (Viewer::Owner(own), Some(owner)) if own == owner => Viewer::Owner(own),
        // The requests of others do not exist for the caller.
        (Viewer::Owner(_), Some(_)) => return Ok(page(&[], None)),
    };
    let query = RequestQuery {
        filter: list.filter,
        viewer,
        after: list.after,
        // One request more than the page shows whether there is another page.
        max: list.limit + 1,
    };
    let listed = relay.list(query, look_up_until()).await;
    let listed = listed.map_err(|error| problem(&error))?;
    let mut views = listed.ok_or_else(problems::no_such_request)?;
    let is_last = views.len() <= list.limit as usize;
    views.truncate(list.limit as usize);
    let next = views.last().filter(|_| !is_last).map(|view| &view.id);
    Ok(page(&views, next))
}

/// Returns a page. `next` is the value of `after` for the next page.
fn page(views: &[RequestView], next: Option<&RequestId>) -> Response {
    let requests: Vec<Value> = views.iter().map(summary).collect();
    let next = next.map(RequestId::as_str);
    json_response(StatusCode::OK, &json!({"requests": requests, "next": next}))
}

/// Returns a request without its message and signature, which can be long.
fn summary(view: &RequestView) -> Value {
    let mut summary = document(view);
    if let Some(members) = summary.as_object_mut() {
        members.remove("message");
        members.remove("signature");
    }
    summary
}
