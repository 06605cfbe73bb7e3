use std::time::Duration;

use tokio::sync::mpsc;

use super::{Fake, Reply, eventually};
use crate::control::outreach::Client;
use crate::control::outreach::metrics::{Reading, Watch, read};
use crate::domain::judge::{Bound, MetricRule, MetricSource, Reaction};

fn rule(source: MetricSource) -> MetricRule {
    MetricRule {
        name: "orders".to_owned(),
        source,
        bound: Bound::default(),
        interval: Duration::from_millis(1),
        times: 1,
        reaction: Reaction::Rollback,
    }
}

#[tokio::test]
async fn a_figure_is_read_from_prometheus_and_from_a_document() {
    let fake = Fake::start(|_, asked| {
        let answer = match asked.line.as_str() {
            "GET /api/v1/query?query=up%7Bjob%3D%22a%22%7D HTTP/1.1" => {
                r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"0.5"]}]}}"#
            }
            "GET /figures HTTP/1.1" => r#"{"orders":{"rate":12}}"#,
            _ => return Reply::Says(404, "not here".to_owned()),
        };
        Reply::Says(200, answer.to_owned())
    })
    .await;
    let (url, client) = (fake.url.clone(), Client::new());
    let query = rule(MetricSource::Prometheus { url: url.clone(), query: "up{job=\"a\"}".to_owned() });
    assert_eq!(read(&client, &query).await, Ok(0.5));
    let json = |path: &str, pointer: &str| rule(MetricSource::Json { url: format!("{url}{path}"), pointer: pointer.to_owned() });
    assert_eq!(read(&client, &json("/figures", "/orders/rate")).await, Ok(12.0));
    let nowhere = read(&client, &json("/figures?token=hunter2", "/orders")).await.unwrap_err();
    assert_eq!(nowhere, format!("{url}/figures: answers 404 Not Found: not here"));
}

#[tokio::test]
async fn an_answer_that_is_too_long_is_no_figure() {
    let fake = Fake::start(|_, _| Reply::Says(200, format!("{}1", " ".repeat(1 << 20)))).await;
    let rule = rule(MetricSource::Json { url: fake.url.clone(), pointer: String::new() });
    assert!(read(&Client::new(), &rule).await.unwrap_err().contains("longer than 1048576 bytes"));
}

#[tokio::test]
async fn readings_come_until_the_watch_is_dropped_also_when_they_fail() {
    let fake = Fake::start(|asked, _| match asked {
        0 => Reply::Says(200, "1.5".to_owned()),
        1 => Reply::Says(500, String::new()),
        _ => Reply::Says(200, "2".to_owned()),
    })
    .await;
    let (told, mut readings) = mpsc::unbounded_channel();
    let rule = rule(MetricSource::Json { url: fake.url.clone(), pointer: String::new() });
    let watch = Watch::start(&Client::new(), &[rule], move |reading| drop(told.send(reading)));
    let mut results = Vec::new();
    for _ in 0..3 {
        let Reading { metric, result } = readings.recv().await.unwrap();
        assert_eq!(metric, "orders");
        results.push(result);
    }
    let failure = format!("{}/: answers 500 Internal Server Error", fake.url);
    assert_eq!(results, [Ok(1.5), Err(failure), Ok(2.0)]);
    drop(watch);
    // The channel ends with the task that tells.
    eventually("the end", async || readings.recv().await.is_none().then_some(())).await;
}
