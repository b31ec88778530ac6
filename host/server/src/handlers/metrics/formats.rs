//! Converts the text of `OpenMetrics` 1.0 that the registry writes to the other formats. All names, labels
//! and values come from this project and contain no escapes.

use serde_json::{Map, Value, json};

/// Converts to the text format 0.0.4 of Prometheus. It uses the name of the sample as the name of a
/// counter, and has no units and no end mark.
pub(super) fn prometheus(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    let mut help = None;
    for line in open_metrics.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ');
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap_or((rest, "unknown"));
            let suffix = if kind == "counter" { "_total" } else { "" };
            let kind = if kind == "unknown" { "untyped" } else { kind };
            if let Some((_, help)) = help.take().filter(|(helped, _)| *helped == name) {
                for part in ["# HELP ", name, suffix, " ", help, "\n"] {
                    text += part;
                }
            }
            for part in ["# TYPE ", name, suffix, " ", kind, "\n"] {
                text += part;
            }
        } else if !line.starts_with('#') {
            text += line;
            text.push('\n');
        }
    }
    text
}

/// Converts to JSON: `{"metrics": [{"name", "type", "help", "unit"?, "samples": [{"name", "labels",
/// "value"}]}]}`.
pub(super) fn json(open_metrics: &str) -> Value {
    let mut metrics: Vec<Map<String, Value>> = Vec::new();
    for line in open_metrics.lines() {
        if let Some((keyword, rest)) = line
            .strip_prefix("# ")
            .and_then(|line| line.split_once(' '))
        {
            let (name, text) = rest.split_once(' ').unwrap_or((rest, ""));
            if metrics.last().is_none_or(|metric| metric["name"] != name) {
                let mut metric = Map::new();
                metric.insert("name".into(), name.into());
                metric.insert("samples".into(), json!([]));
                metrics.push(metric);
            }
            if let Some(metric) = metrics.last_mut() {
                metric.insert(keyword.to_lowercase(), text.into());
            }
        } else if let (Some(sample), Some(metric)) = (sample(line), metrics.last_mut())
            && let Some(samples) = metric["samples"].as_array_mut()
        {
            samples.push(sample);
        }
    }
    json!({ "metrics": metrics })
}

/// Parses a line `name{label="value",…} number`.
fn sample(line: &str) -> Option<Value> {
    let (series, value) = line.rsplit_once(' ')?;
    let (name, labels) = series.split_once('{').unwrap_or((series, ""));
    let labels: Map<String, Value> = labels
        .trim_end_matches('}')
        .split(',')
        .filter_map(|label| label.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.trim_matches('"').into()))
        .collect();
    let value = match value.parse::<u64>() {
        Ok(value) => json!(value),
        Err(_) => json!(value.parse::<f64>().ok()?),
    };
    Some(json!({"name": name, "labels": labels, "value": value}))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN_METRICS: &str = "# HELP a_requests Requests.\n\
        # TYPE a_requests counter\n\
        a_requests_total{route=\"/x\",status=\"200\"} 3\n\
        # HELP a_time_seconds Time.\n\
        # TYPE a_time_seconds histogram\n\
        # UNIT a_time_seconds seconds\n\
        a_time_seconds_sum 0.5\n\
        a_time_seconds_bucket{le=\"+Inf\"} 3\n\
        # EOF\n";

    #[test]
    fn prometheus_names_counters_by_their_samples() {
        assert_eq!(
            prometheus(OPEN_METRICS),
            "# HELP a_requests_total Requests.\n\
             # TYPE a_requests_total counter\n\
             a_requests_total{route=\"/x\",status=\"200\"} 3\n\
             # HELP a_time_seconds Time.\n\
             # TYPE a_time_seconds histogram\n\
             a_time_seconds_sum 0.5\n\
             a_time_seconds_bucket{le=\"+Inf\"} 3\n"
        );
    }

    #[test]
    fn json_contains_all_metrics() {
        let document = json(OPEN_METRICS);
        let [counter, histogram] = document["metrics"]
            .as_array()
            .expect("metrics should be a list")
            .as_slice()
        else {
            panic!("there should be two metrics: {document}");
        };
        assert_eq!(counter["name"], "a_requests");
        assert_eq!(counter["type"], "counter");
        assert_eq!(
            counter["samples"],
            json!([{"name": "a_requests_total", "labels": {"route": "/x", "status": "200"}, "value": 3}])
        );
        assert_eq!(histogram["unit"], "seconds");
        assert_eq!(histogram["samples"][0]["value"], 0.5);
        assert_eq!(histogram["samples"][1]["labels"]["le"], "+Inf");
    }
}
