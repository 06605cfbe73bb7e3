//! Business metrics: figures that somebody outside keeps, read again and again.

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use serde_json::Value;
use tokio::task::AbortHandle;
use tokio::time::MissedTickBehavior;
use url::Url;

use super::client::{Answer, Call, Client, MANY, brief};
use super::target::Target;
use crate::domain::judge::{MetricRule, MetricSource};

/// A reading must be there in this time, and before the next one is due.
const TIMEOUT: Duration = Duration::from_secs(10);

/// One reading of a metric.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// The name of the rule.
    pub metric: String,
    /// The figure, or why there is none.
    pub result: Result<f64, String>,
}

/// Reads a metric once. The error says what is wrong, for people.
pub async fn read(client: &Client, rule: &MetricRule) -> Result<f64, String> {
    let timeout = TIMEOUT.min(rule.interval.max(Duration::from_secs(1)));
    match &rule.source {
        MetricSource::Prometheus { url, query } => {
            let target = instant_query(url, query)?;
            let answer = get(client, &target, timeout).await?;
            sample(&answer).map_err(|what| format!("{}: {what}", target.shown))
        }
        MetricSource::Json { url, pointer } => {
            let target = Target::parse(url)?;
            let answer = get(client, &target, timeout).await?;
            member(&answer, pointer).map_err(|what| format!("{}: {what}", target.shown))
        }
    }
}

/// Metrics that are read as long as this is there.
#[derive(Debug, Default)]
pub struct Watch(Vec<AbortHandle>);

impl Watch {
    /// Reads each of them at once and then every interval, on the current runtime. `tell` must not block.
    pub fn start(client: &Client, rules: &[MetricRule], tell: impl Fn(Reading) + Clone + Send + Sync + 'static) -> Self {
        let start = |rule: &MetricRule| {
            let watching = read_for_ever(client.clone(), rule.clone(), tell.clone());
            tokio::spawn(watching).abort_handle()
        };
        Self(rules.iter().map(start).collect())
    }
}

/// What is on its way is given up.
impl Drop for Watch {
    fn drop(&mut self) {
        self.0.iter().for_each(AbortHandle::abort);
    }
}

async fn read_for_ever(client: Client, rule: MetricRule, tell: impl Fn(Reading)) {
    // Not faster than the clock can tell; an interval of nothing would be no pause at all.
    let mut ticks = tokio::time::interval(rule.interval.max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        tell(Reading { metric: rule.name.clone(), result: read(&client, &rule).await });
    }
}

/// `GET BASE/api/v1/query?query=…` (Prometheus, HTTP API, instant queries).
fn instant_query(base: &str, query: &str) -> Result<Target, String> {
    let wrong = || "not the URL of a Prometheus, like http://prometheus:9090".to_owned();
    let mut url = Url::parse(base).map_err(|_| wrong())?;
    let path = format!("{}/api/v1/query", url.path().trim_end_matches('/'));
    url.set_path(&path);
    url.query_pairs_mut().append_pair("query", query);
    Target::of(&url).ok_or_else(wrong)
}

async fn get(client: &Client, target: &Target, timeout: Duration) -> Result<Answer, String> {
    let call = Call {
        method: Method::GET,
        target,
        headers: vec![("accept", "application/json".to_owned())],
        body: Bytes::new(),
        timeout,
        most: MANY,
        reads_success: true,
    };
    let answer = client.call(call).await.map_err(|silence| silence.what)?;
    if !answer.is_whole {
        return Err(format!("{}: the answer is longer than {MANY} bytes", target.shown));
    }
    Ok(answer)
}

fn document(answer: &Answer) -> Result<Value, String> {
    serde_json::from_slice(&answer.body).map_err(|error| format!("the answer is not JSON: {error}"))
}

/// The first sample of a vector, or a scalar.
fn sample(answer: &Answer) -> Result<f64, String> {
    // What is wrong with a query, Prometheus says in a document too.
    let Ok(document) = document(answer) else {
        return Err(if answer.status.is_success() { "the answer is not JSON".to_owned() } else { answer.said() });
    };
    if document["status"] != "success" {
        return Err(document["error"]
            .as_str()
            .map_or_else(|| answer.said(), |error| format!("Prometheus says: {}", brief(error))));
    }
    let result = &document["data"]["result"];
    let value = match document["data"]["resultType"].as_str() {
        Some("scalar") => &result[1],
        Some("vector") if result.as_array().is_some_and(Vec::is_empty) => {
            return Err("the query has no result: nothing has such a series now".to_owned());
        }
        Some("vector") => &result[0]["value"][1],
        other => {
            let kind = brief(other.unwrap_or("nothing that is known"));
            return Err(format!("the query results in {kind}: one that results in a vector or a scalar is needed"));
        }
    };
    let text = value.as_str().ok_or("the first sample has no value: histograms are none")?;
    let figure: f64 = text.parse().map_err(|_| format!("`{}` is not a number", brief(text)))?;
    if figure.is_finite() { Ok(figure) } else { Err(format!("the result is {text}, which is no figure")) }
}

/// The number that a pointer (RFC 6901) leads to.
fn member(answer: &Answer, pointer: &str) -> Result<f64, String> {
    if !answer.status.is_success() {
        return Err(answer.said());
    }
    if !pointer.is_empty() && !pointer.starts_with('/') {
        return Err(format!("`{pointer}` is not a JSON pointer: it starts with /, like /orders/rate"));
    }
    let document = document(answer)?;
    let found = document.pointer(pointer).ok_or_else(|| format!("there is nothing at `{pointer}`"))?;
    found.as_f64().ok_or_else(|| format!("`{pointer}` is {}, and must be a number", brief(&found.to_string())))
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        let status = StatusCode::from_u16(status).unwrap();
        Answer { status, retry_after: None, body: Bytes::copy_from_slice(body.as_bytes()), is_whole: true }
    }

    fn of_prometheus(kind: &str, result: &str) -> Result<f64, String> {
        sample(&answer(200, &format!(r#"{{"status":"success","data":{{"resultType":"{kind}","result":{result}}}}}"#)))
    }

    #[test]
    fn a_vector_counts_by_its_first_sample_and_a_scalar_by_itself() {
        let vector = r#"[{"metric":{"job":"a"},"value":[1700000000.1,"0.25"]},{"metric":{},"value":[1700000000.1,"9"]}]"#;
        assert_eq!(of_prometheus("vector", vector), Ok(0.25));
        assert_eq!(of_prometheus("scalar", r#"[1700000000.1,"-3e2"]"#), Ok(-300.0));
    }

    #[test]
    fn what_is_no_figure_is_an_error_in_words() {
        for (kind, result, expected) in [
            ("vector", "[]", "no result"),
            ("vector", r#"[{"metric":{},"value":[1,"NaN"]}]"#, "NaN, which is no figure"),
            ("scalar", r#"[1,"+Inf"]"#, "+Inf, which is no figure"),
            ("vector", r#"[{"metric":{},"histogram":[1,{}]}]"#, "histograms are none"),
            ("matrix", "[]", "results in matrix"),
        ] {
            let error = of_prometheus(kind, result).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        let refused = answer(400, r#"{"status":"error","errorType":"bad_data","error":"parse error at char 3"}"#);
        assert_eq!(sample(&refused).unwrap_err(), "Prometheus says: parse error at char 3");
        assert_eq!(sample(&answer(503, "overloaded")).unwrap_err(), "answers 503 Service Unavailable: overloaded");
    }

    #[test]
    fn a_pointer_leads_to_a_number_and_to_nothing_else() {
        let read = |pointer: &str| member(&answer(200, r#"{"a":{"b/c":[1,2.5]},"t":"3","n":null}"#), pointer);
        assert_eq!(read("/a/b~1c/1"), Ok(2.5));
        for (pointer, expected) in [
            ("/x", "nothing at `/x`"),
            ("/t", r#"`/t` is "3", and must be a number"#),
            ("/n", "`/n` is null"),
            ("a", "is not a JSON pointer"),
            ("", "must be a number"),
        ] {
            let error = read(pointer).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        assert_eq!(member(&answer(200, "7"), ""), Ok(7.0));
        assert_eq!(member(&answer(404, "gone"), "").unwrap_err(), "answers 404 Not Found: gone");
    }

    #[test]
    fn a_query_is_asked_under_the_prefix_of_the_server() {
        let target = instant_query("https://user:secret@prom.example/prefix/?tenant=a", "sum(x{y=\"z\"}) > 1 & 2").unwrap();
        assert_eq!(target.path, "/prefix/api/v1/query?tenant=a&query=sum%28x%7By%3D%22z%22%7D%29+%3E+1+%26+2");
        assert_eq!(target.shown, "https://prom.example/prefix/api/v1/query");
        assert!(instant_query("prom:9090", "x").is_err());
    }
}
