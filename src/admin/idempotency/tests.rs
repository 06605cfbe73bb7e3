use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::put;
use tokio::sync::Semaphore;
use tokio::time::advance;
use tower::ServiceExt;

use super::*;

/// A route that counts how often it is asked, and answers when it may.
struct Scene {
    memory: Arc<Memory>,
    routes: Router,
    asked: Arc<AtomicUsize>,
    may: Arc<Semaphore>,
}

impl Scene {
    fn new(status: u16, body: usize) -> Self {
        let (memory, asked, may) = (Arc::new(Memory::default()), Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
        let (counted, allowed) = (asked.clone(), may.clone());
        let handler = move || async move {
            let number = counted.fetch_add(1, Ordering::SeqCst) + 1;
            allowed.acquire().await.unwrap().forget();
            (StatusCode::from_u16(status).unwrap(), format!("{number}{}", " ".repeat(body)))
        };
        let routes = Router::new().route("/", put(handler)).layer(from_fn_with_state(memory.clone(), once_only));
        Self { memory, routes, asked, may }
    }

    async fn put(&self, key: &str) -> (u16, String) {
        let request = Request::builder().method("PUT").uri("/").header("idempotency-key", key).body(Body::empty()).unwrap();
        let response = self.routes.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap().trim().to_owned())
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    fn kept(&self) -> (usize, usize) {
        let inside = self.memory.lock();
        assert_eq!(inside.by_key.len(), inside.oldest.len(), "nothing runs");
        (inside.oldest.len(), inside.bytes)
    }
}

#[tokio::test(start_paused = true)]
async fn the_second_waits_for_the_first_and_not_for_ever() {
    let scene = Arc::new(Scene::new(200, 0));
    let first = tokio::spawn({
        let scene = scene.clone();
        async move { scene.put("a").await }
    });
    while scene.asked() == 0 {
        tokio::task::yield_now().await;
    }
    let (status, problem) = scene.put("a").await;
    assert_eq!((status, problem.contains("idempotency-key-in-use")), (409, true));
    let second = tokio::spawn({
        let scene = scene.clone();
        async move { scene.put("a").await }
    });
    scene.may.add_permits(1);
    assert_eq!((first.await.unwrap(), second.await.unwrap()), ((200, "1".into()), (200, "1".into())));
    assert_eq!(scene.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_was_begun_is_carried_out_and_remembered_though_its_client_leaves() {
    let scene = Scene::new(200, 0);
    assert!(tokio::time::timeout(Duration::from_secs(1), scene.put("a")).await.is_err());
    scene.may.add_permits(1);
    assert_eq!(scene.put("a").await, (200, "1".into()));
    assert_eq!(scene.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_may_turn_out_otherwise_is_done_again() {
    for (status, asked) in [(200, 1), (404, 1), (409, 1), (412, 1), (422, 1), (408, 2), (429, 2), (500, 2), (503, 2), (507, 2)] {
        let scene = Scene::new(status, 0);
        scene.may.add_permits(2);
        assert_eq!(scene.put("a").await.0, status);
        assert_eq!(scene.put("a").await, (status, asked.to_string()));
        assert_eq!(scene.kept().0, usize::from(asked == 1), "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_remembered_for_a_day() {
    let scene = Scene::new(200, 0);
    scene.may.add_permits(2);
    scene.put("a").await;
    advance(REMEMBERED - Duration::from_secs(1)).await;
    assert_eq!(scene.put("a").await.1, "1");
    advance(Duration::from_secs(1)).await;
    assert_eq!(scene.put("a").await.1, "2");
}

#[tokio::test(start_paused = true)]
async fn answers_are_bounded_in_number_and_in_bytes_and_the_oldest_goes_first() {
    let scene = Scene::new(200, 0);
    scene.may.add_permits(MOST_ANSWERS + 10);
    for at in 0..MOST_ANSWERS + 9 {
        scene.put(&at.to_string()).await;
    }
    assert_eq!(scene.kept().0, MOST_ANSWERS);
    assert_eq!(scene.put("9").await.1, "10", "the oldest that is kept");
    assert_eq!(scene.put("8").await.1, (MOST_ANSWERS + 10).to_string(), "forgotten, and so done again");
    let scene = Scene::new(200, 1 << 20);
    scene.may.add_permits(20);
    for at in 0..20 {
        scene.put(&at.to_string()).await;
    }
    let (answers, bytes) = scene.kept();
    assert!((7..=8).contains(&answers) && bytes <= MOST_BYTES, "{answers} {bytes}");
}
