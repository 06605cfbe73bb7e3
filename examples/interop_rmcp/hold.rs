//! Many sessions held open, each making calls all the while: `tests/interop/clients/hold.py` says how.

use std::{
    io::BufRead,
    sync::atomic::Ordering,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use futures::future::join_all;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};

use crate::{Failure, Task, drive::Driver, wire::http_client};

const OPEN_WITHIN: f64 = 40.0;
const AGAIN: Duration = Duration::from_millis(400);
const ASK_AGAIN: f64 = 1.6;
const LAST_WITHIN: f64 = 15.0;

/// What the task says of it; times in seconds, `ms` in milliseconds.
#[derive(Clone, Deserialize)]
pub struct Hold {
    urls: Vec<String>,
    ms: Vec<u64>,
    pace: f64,
    births: f64,
    patience: f64,
    last: usize,
}

/// Seconds of the clock that the suite and the other clients read.
#[expect(clippy::disallowed_methods, reason = "this is no part of dualgate")]
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

struct Held {
    driver: Driver,
    told: Hold,
    orders: mpsc::UnboundedReceiver<Value>,
    calls: Vec<Value>,
    heard: Map<String, Value>,
    opened: Value,
    lost: Value,
}

impl Held {
    fn new(task: &Task, told: &Hold, client: &reqwest::Client, number: usize, orders: mpsc::UnboundedReceiver<Value>) -> Self {
        let mut task = task.clone();
        task.url = told.urls[number % told.urls.len()].clone();
        let driver = Driver { task, client: client.clone(), number, session: None };
        let (calls, heard) = Default::default();
        Self { driver, told: told.clone(), orders, calls, heard, opened: Value::Null, lost: Value::Null }
    }

    /// What came of an order: whether it went well, and its words.
    async fn carry_out(&mut self, order: Value) -> (bool, String) {
        let patience = Duration::from_secs_f64(order["patience"].as_f64().unwrap_or(self.told.patience));
        match timeout(patience, self.driver.act(&order)).await {
            Ok(Ok(text)) => (true, text),
            Ok(Err(error)) => (false, error.to_string()),
            Err(_) => (false, "no end to it".into()),
        }
    }

    async fn open(&mut self) {
        sleep(Duration::from_secs_f64(self.told.births * self.driver.number as f64)).await;
        let (ok, text) = self.carry_out(json!({"do": "connect", "patience": OPEN_WITHIN})).await;
        self.opened = json!({"ok": ok, "text": text});
    }

    fn is_open(&self) -> bool {
        self.opened["ok"] == true
    }

    async fn call(&mut self, tool: &str, mut arguments: Value) -> (String, bool) {
        let number = self.driver.number;
        let name = format!("{}-{}", self.driver.task.key(number), self.calls.len());
        arguments["call"] = name.as_str().into();
        let start = now();
        let (ok, text) = self.carry_out(json!({"do": "call", "tool": tool, "arguments": arguments})).await;
        let right = ok && text == name;
        let error: String = if right { String::new() } else { text.chars().take(300).collect() };
        self.calls.push(json!({
            "session": number, "call": name, "tool": tool, "start": start, "end": now(), "ok": right, "error": error,
        }));
        (name, right)
    }

    async fn work(&mut self) -> bool {
        let ms = self.told.ms[(self.driver.number + self.calls.len()) % self.told.ms.len()];
        self.call("work", json!({"ms": ms})).await.1
    }

    async fn notify(&mut self, order: &Value) {
        let began = now();
        let until = began + order["within"].as_f64().unwrap_or_default();
        while until > now() {
            let (name, _) = self.call("notify", json!({})).await;
            let within = ASK_AGAIN.min(until - now()).max(0.0);
            if self.carry_out(json!({"do": "notice", "text": name, "within": within})).await.0 {
                self.heard.insert(order["mark"].as_str().unwrap_or_default().into(), (now() - began).into());
                return;
            }
            sleep(AGAIN / 2).await;
        }
    }

    async fn live(&mut self, answered: mpsc::UnboundedSender<bool>) {
        let mut right = true;
        loop {
            // No two sessions in step; nothing here has to be unforeseeable.
            let uneven = 0.5 + ((self.driver.number * 37 + self.calls.len() * 61) % 100) as f64 / 100.0;
            let pause = if right { Duration::from_secs_f64(self.told.pace * uneven) } else { AGAIN };
            match timeout(pause, self.orders.recv()).await {
                Err(_) => right = self.work().await,
                Ok(Some(order)) if order["do"] == "notify" => {
                    self.notify(&order).await;
                    let _ = answered.send(self.heard.contains_key(order["mark"].as_str().unwrap_or_default()));
                }
                Ok(_) => return self.last_words().await,
            }
        }
    }

    async fn last_words(&mut self) {
        let began = now();
        self.lost = true.into();
        for _ in 0..self.told.last {
            if self.work().await {
                self.lost = false.into();
                return;
            }
            if now() - began > LAST_WITHIN {
                return;
            }
            sleep(AGAIN).await;
        }
    }

    fn report(&self) -> Value {
        let begun = self.driver.session.as_ref().map_or(0, |session| session.wire.begun.load(Ordering::Relaxed));
        json!({
            "session": self.driver.number, "opened": self.opened, "lost": self.lost, "anew": begun > 1, "heard": self.heard,
            "calls": self.calls,
        })
    }
}

/// Holds the sessions until it is told to stop, and prints the report.
pub async fn run(task: Task, hold: Hold) -> Result<(), Failure> {
    let client = http_client(&task)?;
    let (orders, received): (Vec<_>, Vec<_>) = (0..task.sessions).map(|_| mpsc::unbounded_channel()).unzip();
    let numbered = received.into_iter().enumerate();
    let mut sessions: Vec<_> = numbered.map(|(number, orders)| Held::new(&task, &hold, &client, number, orders)).collect();
    join_all(sessions.iter_mut().map(Held::open)).await;
    let failed: Vec<_> = sessions.iter().filter(|held| !held.is_open()).map(|held| held.opened["text"].clone()).collect();
    println!("{}", json!({"opened": task.sessions - failed.len(), "failed": failed}));
    let living: Vec<_> = sessions.iter().filter(|held| held.is_open()).map(|held| held.driver.number).collect();
    let (answered, mut answers) = mpsc::unbounded_channel();
    let (lines, mut told) = mpsc::unbounded_channel();
    std::thread::spawn(move || std::io::stdin().lock().lines().map_while(Result::ok).try_for_each(|line| lines.send(line)));
    let lives = join_all(sessions.iter_mut().filter(|held| held.is_open()).map(|held| held.live(answered.clone())));
    let leads = async {
        while let Some(line) = told.recv().await {
            let order: Value = serde_json::from_str(&line)?;
            for number in &living {
                let _ = orders[*number].send(order.clone());
            }
            if order["do"] == "stop" {
                break;
            }
            let mut heard = 0;
            for _ in &living {
                heard += usize::from(answers.recv().await == Some(true));
            }
            println!("{}", json!({"heard": heard}));
        }
        Ok::<_, Failure>(())
    };
    let (_, led) = tokio::join!(lives, leads);
    led?;
    println!("{}", json!({"sessions": sessions.iter().map(Held::report).collect::<Vec<_>>()}));
    Ok(())
}
