use serde_json::{Value, json};

use crate::support::{Admin, Fake, Folder, Options, TestApp, dualgate, eventually};

async fn fakes() -> (Fake, Fake) {
    (Fake::start("v1", Options::default()).await, Fake::start("v2", Options::default()).await)
}

async fn on(folder: &Folder, (v1, v2): &(Fake, Fake)) -> TestApp {
    TestApp::from_text(TestApp::file(folder.path(), &[v1], &[v2], "90:10", "")).await
}

async fn entries(admin: &Admin, query: &str) -> Vec<Value> {
    let (status, answer) = admin.send("GET", &format!("/v1/audit{query}"), None).await;
    assert_eq!(status, 200, "{answer}");
    answer["entries"].as_array().unwrap().clone()
}

fn of_type<'a>(entries: &'a [Value], kind: &str) -> Vec<&'a Value> {
    entries.iter().filter(|entry| entry["type"] == kind).collect()
}

#[tokio::test]
async fn a_change_says_who_why_and_from_what_to_what_and_what_is_refused_is_there_too() {
    let fakes = fakes().await;
    let folder = Folder::new();
    let app = on(&folder, &fakes).await;
    let put = async |actor: &str, if_match: &str| {
        let request = app.admin.request("PUT", "/v1/services/notes/split").header("content-type", "application/json");
        let request = request.header("dualgate-actor", actor).header("if-match", if_match);
        let body = json!({ "primary": 50, "secondary": 50, "reason": "step two" });
        request.body(body.to_string()).send().await.unwrap().status().as_u16()
    };
    assert_eq!([put("ada", "*").await, put("bob", "\"1\"").await, put("not a name", "*").await], [200, 412, 400]);
    let refusal = eventually("the refusal is there", async || {
        of_type(&entries(&app.admin, "").await, "refused").first().map(|entry| (*entry).clone())
    })
    .await;
    let all = entries(&app.admin, "").await;
    let [change] = of_type(&all, "split")[..] else { panic!("{all:?}") };
    let told = |entry: &Value, keys: &[&str]| keys.iter().map(|key| entry[*key].clone()).collect::<Vec<_>>();
    assert_eq!(
        told(change, &["actor", "reason", "service", "before", "after", "result"]),
        ["ada@127.0.0.1", "step two", "notes", "90:10", "50:50", "done"]
    );
    assert_eq!(
        told(&refusal, &["actor", "reason", "service", "command", "wanted", "result"]),
        ["bob@127.0.0.1", "step two", "notes", "split", "50:50", "refused"]
    );
    assert!(refusal["why"].as_str().unwrap().contains("revision 1 is not the current one"), "{refusal}");
    assert_eq!(all.iter().map(|entry| entry["seq"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 2]);
}

#[tokio::test]
async fn a_denied_attempt_says_where_from_at_what_and_why() {
    let fakes = fakes().await;
    let folder = Folder::new();
    let app = on(&folder, &fakes).await;
    let thief = Admin { token: "x".repeat(40), ..app.admin.clone() };
    let request = thief.request("POST", "/v1/services/notes/rollback").header("dualgate-actor", "mallory");
    assert_eq!(request.send().await.unwrap().status(), 401);
    let denied = eventually("the attempt is there", async || {
        of_type(&entries(&app.admin, "").await, "denied").first().map(|entry| (*entry).clone())
    })
    .await;
    let keys = ["actor", "address", "method", "path", "why"];
    assert_eq!(
        keys.map(|key| denied[key].as_str().unwrap().to_owned()),
        ["mallory", "127.0.0.1", "POST", "/v1/services/notes/rollback", "no-valid-token"]
    );
    assert_eq!(denied["result"], 401);
}

#[tokio::test]
async fn the_audit_is_read_on_from_where_one_was() {
    let fakes = fakes().await;
    let folder = Folder::new();
    let app = on(&folder, &fakes).await;
    for primary in [80, 70, 60, 50] {
        app.admin.split(&format!("{primary}:{}", 100 - primary)).await;
    }
    let afters = async |query: &str| -> Vec<Value> {
        entries(&app.admin, query).await.iter().map(|entry| entry["after"].clone()).collect()
    };
    assert_eq!(afters("?limit=2").await, ["60:40", "50:50"], "the newest");
    assert_eq!(afters("?limit=2&after=1").await, ["70:30", "60:40"], "the next");
    assert!(afters("?after=4").await.is_empty());
    let (_, page) = app.admin.send("GET", "/v1/audit?after=1&limit=1", None).await;
    assert_eq!((page["entries"][0]["seq"].as_u64(), page["last"].as_u64()), (Some(2), Some(4)));
    for bad in ["?after=x", "?limit=-1", "?aftre=1"] {
        assert_eq!(app.admin.send("GET", &format!("/v1/audit{bad}"), None).await.0, 400, "{bad}");
    }
    let said = app.admin.cli(&["audit", "--after", "2", "--limit", "1"]).await;
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.contains("after=60:40") && said.out.contains("seq=3") && !said.out.contains("prev="), "{}", said.out);
}

#[tokio::test]
async fn the_audit_is_verified_by_the_running_one_and_from_its_files_over_restarts() {
    let fakes = fakes().await;
    let folder = Folder::new();
    let dir = folder.path().to_str().unwrap();
    for primary in [80, 70] {
        let app = on(&folder, &fakes).await;
        app.admin.split(&format!("{primary}:{}", 100 - primary)).await;
        let (status, report) = app.admin.send("GET", "/v1/audit/verify", None).await;
        assert_eq!((status, &report["intact"]), (200, &json!(true)), "{report}");
        let (asked, read) =
            (app.admin.cli(&["audit", "verify"]).await, dualgate(&["audit", "verify", "--state-dir", dir], &[]).await);
        assert_eq!((asked.code, read.code), (0, 0), "{asked:?} {read:?}");
        assert_eq!(asked.out, read.out);
        app.stop();
        app.stopped().await;
    }
    let said = dualgate(&["audit", "verify", "--state-dir", dir, "-o", "json"], &[]).await;
    let report: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((report["lines"].as_u64(), report["first"].as_u64(), report["last"].as_u64()), (Some(2), Some(1), Some(2)));
    let path = folder.path().join("audit.jsonl");
    std::fs::write(&path, std::fs::read_to_string(&path).unwrap().replace("80:20", "81:19")).unwrap();
    let said = dualgate(&["audit", "verify", "--state-dir", dir], &[]).await;
    assert_eq!((said.code, said.out.as_str()), (7, "BROKEN after 1 line, 1 to 1\n"));
    assert!(
        said.err.starts_with("error: audit.jsonl:2: line 1 was changed, or the `prev` of line 2: they do not fit\n"),
        "{}",
        said.err
    );
    let app = on(&folder, &fakes).await;
    app.admin.split("60:40").await;
    let said = app.admin.cli(&["audit", "verify"]).await;
    assert_eq!(said.code, 7, "a restart heals nothing: {said:?}");
    let nowhere = dualgate(&["audit", "verify", "--state-dir", "/nowhere"], &[]).await;
    assert_eq!(nowhere.code, 4);
}

#[tokio::test]
async fn a_sidecar_without_a_disk_has_a_chain_too() {
    let (v1, v2) = fakes().await;
    let folder = Folder::new();
    std::fs::write(folder.path().join("token"), "t".repeat(40)).unwrap();
    std::fs::write(folder.path().join("key"), "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n").unwrap();
    let text = TestApp::file(std::path::Path::new(""), &[&v1], &[&v2], "90:10", "");
    let text = text.replace("secondary = 10 }", "secondary = 10, authority = \"config\" }");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let text =
        text.replacen("listen = \"127.0.0.1:0\" }", &format!("listen = \"127.0.0.1:0\", token_file = '{}' }}", path("token")), 1);
    let app = TestApp::from_text(format!("seal = {{ key_files = ['{}'] }}\n{text}", path("key"))).await;
    assert_eq!(app.admin.send("POST", "/v1/services/notes/rollback", None).await.0, 200);
    let put = app.admin.send("PUT", "/v1/services/notes/split", Some(json!({ "primary": 50, "secondary": 50 }))).await;
    assert_eq!(put.0, 409);
    let (_, report) = app.admin.send("GET", "/v1/audit/verify", None).await;
    assert_eq!((&report["intact"], report["lines"].as_u64()), (&json!(true), Some(2)), "{report}");
    assert_eq!(entries(&app.admin, "").await[1]["prev"].as_str().unwrap().len(), 64);
}
