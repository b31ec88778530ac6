//! `GET /metrics`.

mod formats;

use crate::metrics::Metrics;
use bulkhead_http::{Problem, Response, negotiate, response};
use hyper::header::{HeaderValue, VARY};
use hyper::{HeaderMap, StatusCode};

const OFFERED: [&str; 3] = [
    "application/json",
    "application/openmetrics-text",
    "text/plain",
];

/// Returns all metrics in the format that `Accept` prefers: JSON, `OpenMetrics` 1.0 or Prometheus 0.0.4.
pub(crate) fn get(metrics: &Metrics, headers: &HeaderMap) -> Result<Response, Problem> {
    let format = negotiate(headers, &OFFERED)?;
    let text = metrics
        .encode()
        .map_err(|error| Problem::internal(error.to_string()))?;
    let (content_type, body) = match format {
        0 => ("application/json", formats::json(&text).to_string() + "\n"),
        1 => (
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            text,
        ),
        _ => (
            "text/plain; version=0.0.4; charset=utf-8",
            formats::prometheus(&text),
        ),
    };
    let mut response = response(StatusCode::OK, content_type, body);
    response
        .headers_mut()
        .insert(VARY, HeaderValue::from_static("Accept"));
    Ok(response)
}
