//! One thing at a time, as the lines of the standard input ask: `tests/interop/clients/drive.py` says what there is.

use std::{io::BufRead, time::Duration};

use serde_json::{Value, json};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};

use crate::{
    Failure, Task,
    session::Session,
    wire::{Wire, http_client},
};

/// What did not come back in this time hangs.
const PATIENCE: Duration = Duration::from_secs(12);

/// One session at a time, as it is told.
pub struct Driver {
    pub task: Task,
    pub client: reqwest::Client,
    pub number: usize,
    pub session: Option<Session>,
}

impl Driver {
    /// The text that the order brings; nothing bounds its time but its own `within`.
    pub async fn act(&mut self, order: &Value) -> Result<String, Failure> {
        if order["do"] == "connect" {
            self.session = None;
            let wire = Wire::new(self.client.clone(), Default::default());
            let session = Session::open(&self.task, self.number, wire).await?;
            return Ok(self.session.insert(session).version.clone());
        }
        if order["do"] == "end" {
            self.session.take().ok_or("not connected")?.end().await?;
            return Ok(String::new());
        }
        let within = order["within"].as_f64().map_or(PATIENCE, Duration::from_secs_f64);
        let session = self.session.as_mut().ok_or("not connected")?;
        match order["do"].as_str() {
            Some("call") => {
                let arguments = order["arguments"].as_object().cloned().unwrap_or_default();
                let called = session.call(order["tool"].as_str().unwrap_or_default(), arguments, false);
                timeout(within, called).await.map_err(|_| "its caller's timeout")?
            }
            Some("notice") => {
                let text = order["text"].as_str().unwrap_or_default();
                session.notice(text, within).await.map(|()| String::new())
            }
            Some("notify") => session.notify().await.map(|()| String::new()),
            _ => Err(format!("no such order: {order}").into()),
        }
    }
}

/// Carries out orders until the input ends.
pub async fn run(task: Task) -> Result<(), Failure> {
    let client = http_client(&task)?;
    let mut driver = Driver { task, client, number: 0, session: None };
    let (lines, mut orders) = mpsc::unbounded_channel();
    // Standard input can only be read by blocking, and the sessions have to go on meanwhile.
    std::thread::spawn(move || std::io::stdin().lock().lines().map_while(Result::ok).try_for_each(|line| lines.send(line)));
    while let Some(line) = orders.recv().await {
        let began = Instant::now();
        let answer = match timeout(PATIENCE, driver.act(&serde_json::from_str(&line)?)).await {
            Ok(Ok(text)) => json!({"ok": true, "text": text}),
            Ok(Err(error)) => json!({"ok": false, "text": error.to_string()}),
            Err(_) => json!({"ok": false, "hang": true, "text": "no end to it"}),
        };
        println!("{}", json!({"seconds": began.elapsed().as_secs_f64(), "answer": answer}));
    }
    Ok(())
}
