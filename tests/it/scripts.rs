//! The scripts under `config/examples`, run as an operator would.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::{Admin, Client, Fake, Folder, Options, Port, Process, Said, TestApp, eventually};

/// One script to its end, with the token in `folder` and the binary of this build.
async fn run(script: &str, arguments: &[&str], admin: &Admin, folder: &Folder, more: &[(&str, &str)]) -> Said {
    let token = folder.path().join("token-of-the-script");
    std::fs::write(&token, &admin.token).unwrap();
    let binaries = Path::new(env!("CARGO_BIN_EXE_dualgate")).parent().unwrap().to_owned();
    // What the test puts in the place of a command goes first.
    let path = format!("{}/bin:{}:{}", folder.path().display(), binaries.display(), std::env::var("PATH").unwrap());
    let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("config/examples").join(script));
    command.args(arguments).env_clear().env("PATH", path).env("USER", "ada").stdin(Stdio::null());
    command.env("DUALGATE_ADMIN_URL", &admin.url).env("DUALGATE_TOKEN_FILE", token).envs(more.iter().copied());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    Said { code: output.status.code().unwrap(), out: text(&output.stdout), err: text(&output.stderr) }
}

async fn fakes() -> (Fake, Fake) {
    (Fake::start("v1", Options::default()).await, Fake::start("v2", Options::default()).await)
}

async fn secondary(admin: &Admin) -> f64 {
    admin.service().await["split"]["target"]["secondary"].as_f64().unwrap()
}

async fn reasons(admin: &Admin) -> Vec<String> {
    let (_, audit) = admin.send("GET", "/v1/audit", None).await;
    let entries: Vec<Value> = audit["entries"].as_array().unwrap().clone();
    entries.iter().filter_map(|entry| Some(entry["reason"].as_str()?.to_owned())).collect()
}

#[tokio::test]
async fn ten_fifty_and_a_hundred_per_cent_by_hand() {
    let (v1, v2) = fakes().await;
    let folder = Folder::new();
    let app = TestApp::from_text(TestApp::file(&folder.path().join("state"), &[&v1], &[&v2], "100:0", "")).await;
    let said = run("rollout.sh", &[], &app.admin, &folder, &[("HOLD", "0")]).await;
    assert_eq!((said.code, secondary(&app.admin).await), (0, 100.0), "{said:?}");
    let steps = ["rollout: 10 %", "rollout: 50 %", "rollout: 100 %"];
    assert_eq!(reasons(&app.admin).await[..3], steps);
    assert!(said.out.ends_with("primary 1.0: empty\n"), "{}", said.out);
}

#[tokio::test]
async fn a_rollout_whose_new_version_dies_is_rolled_back_and_exits_8() {
    let (v1, v2) = fakes().await;
    let folder = Folder::new();
    let app = TestApp::from_text(TestApp::file(&folder.path().join("state"), &[&v1], &[&v2], "100:0", "")).await;
    // A hold that lasts until the test says so.
    let (bin, over) = (folder.path().join("bin"), folder.path().join("over"));
    std::fs::create_dir(&bin).unwrap();
    let hold = format!("#!/bin/sh\nwhile [ ! -e {} ]; do /bin/sleep 0.02; done\n", over.display());
    std::fs::write(bin.join("sleep"), hold).unwrap();
    std::fs::set_permissions(bin.join("sleep"), std::fs::Permissions::from_mode(0o700)).unwrap();
    let during = async {
        eventually("the first step", async || (secondary(&app.admin).await == 10.0).then_some(())).await;
        drop(v2);
        std::fs::write(over, "").unwrap();
    };
    let (said, ()) = tokio::join!(run("rollout.sh", &[], &app.admin, &folder, &[]), during);
    assert_eq!((said.code, secondary(&app.admin).await), (8, 0.0), "{said:?}");
    assert_eq!(reasons(&app.admin).await, ["rollout: 10 %", "unhealthy at 10 %"]);
}

#[tokio::test]
async fn a_rollout_to_a_version_that_is_not_up_does_not_begin() {
    let (v1, v2) = fakes().await;
    let folder = Folder::new();
    let app = TestApp::from_text(TestApp::file(&folder.path().join("state"), &[&v1], &[&v2], "100:0", "")).await;
    drop(v2);
    let said = run("rollout.sh", &[], &app.admin, &folder, &[("HOLD", "0"), ("PATIENCE", "300ms")]).await;
    assert_eq!((said.code, secondary(&app.admin).await), (7, 0.0), "{said:?}");
}

#[tokio::test]
async fn each_step_is_watched_by_hand_and_one_that_was_not_seen_enough_is_taken_back() {
    let (v1, v2) = fakes().await;
    let folder = Folder::new();
    let app = TestApp::from_text(TestApp::file(&folder.path().join("state"), &[&v1], &[&v2], "100:0", "")).await;
    let up = async || (app.admin.service().await["entries"]["secondary"]["standing"] == "up").then_some(());
    eventually("it is up", up).await;
    let said = run("by-hand.sh", &[], &app.admin, &folder, &[("HOLD", "200ms")]).await;
    assert_eq!((said.code, secondary(&app.admin).await), (8, 0.0), "without traffic, nobody knows: {said:?}");
    assert_eq!(reasons(&app.admin).await, ["by hand: 10 %", "not well at 10 %"]);
    let said = run("by-hand.sh", &[], &app.admin, &folder, &[("HOLD", "200ms"), ("ALLOW_UNSURE", "yes")]).await;
    assert_eq!((said.code, secondary(&app.admin).await), (0, 100.0), "{said:?}");
}

#[tokio::test]
async fn a_plan_of_the_configuration_goes_through_by_the_script() {
    let (v1, v2) = fakes().await;
    let folder = Folder::new();
    let text = TestApp::file(&folder.path().join("state"), &[&v1], &[&v2], "100:0", "");
    let plan = "[[plan]]\nname = \"quick\"\nsteps = [{ share = 10 }, { share = 50 }, { share = 100 }]\n";
    let app = TestApp::from_text(format!("{text}\n{plan}")).await;
    let up = async || {
        let entries = &app.admin.service().await["entries"];
        ["primary", "secondary"].iter().all(|entry| entries[entry]["standing"] == "up").then_some(())
    };
    eventually("both are up", up).await;
    let said = run("plan.sh", &["quick"], &app.admin, &folder, &[]).await;
    assert_eq!((said.code, secondary(&app.admin).await), (0, 100.0), "{said:?}");
    let wrong = run("plan.sh", &["quik"], &app.admin, &folder, &[]).await;
    assert!(wrong.code == 3 && wrong.err.contains("did you mean `quick`?"), "{wrong:?}");
}

#[tokio::test]
async fn a_sidecar_whose_file_decides_is_split_by_its_file() {
    let (v1, v2) = fakes().await;
    let folder = Folder::new();
    let secret = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (key, token) = (secret("key", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"), secret("token", &"t".repeat(43)));
    // The one that is shipped, on free ports and with secrets and servers that are there.
    let shipped = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/config/sidecar.toml")).unwrap();
    let text = shipped.replace("/run/secrets/dualgate-seal", &key).replace("/run/secrets/dualgate-token", &token);
    let text = text.replace("0.0.0.0:8080", "127.0.0.1:0").replace("0.0.0.0:9090", "127.0.0.1:0");
    let text = text.replace("[admin]\n", "[admin]\nlisten = \"127.0.0.1:0\"\n");
    let text = text.replace("http://127.0.0.1:3000", &v1.url()).replace("http://127.0.0.1:3001", &v2.url());
    let path = folder.path().join("sidecar.toml");
    std::fs::write(&path, format!("shutdown = {{ delay = \"0s\", drain = \"1s\" }}\n{text}")).unwrap();
    let file = path.to_str().unwrap().to_owned();
    let app = TestApp::from_file(&path).await;
    let put = app.admin.cli(&["split", "50:50"]).await;
    assert_eq!(put.code, 5, "the file decides: {put:?}");
    for share in ["50", "100", "0"] {
        let said = run("sidecar.sh", &[&file, share], &app.admin, &folder, &[]).await;
        assert_eq!((said.code, secondary(&app.admin).await), (0, share.parse().unwrap()), "{said:?}");
    }
    assert_eq!(Client::new(&app).open().await.who().await, "v1");
    let wrong = run("sidecar.sh", &[&file, "150"], &app.admin, &folder, &[]).await;
    assert_eq!((wrong.code, secondary(&app.admin).await), (3, 0.0), "{wrong:?}");
}

/// With real servers and real clients on them.
#[tokio::test]
async fn the_demo_goes_to_a_hundred_per_cent_by_the_script() {
    let folder = Folder::new();
    let ports = [Port::any(), Port::any()];
    let [listen, address] = ports.each_ref().map(|port| port.address.to_string());
    let _demo = Process::start_in(folder.path(), &["demo", "--listen", &listen, "--admin", &address]);
    let token = eventually("the demo has its token", async || {
        let mut entries = std::fs::read_dir(folder.path()).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
        let state =
            entries.find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("dualgate-demo-")))?;
        std::fs::read_to_string(state.join("admin-token")).ok().filter(|token| token.ends_with('\n'))
    })
    .await;
    let admin = Admin { url: format!("http://{address}"), token: token.trim().to_owned(), http: reqwest::Client::new() };
    let ready =
        async || reqwest::get(format!("http://{address}/health/ready")).await.ok().filter(|answer| answer.status().is_success());
    eventually("the demo is ready", ready).await;
    let said = run("rollout.sh", &[], &admin, &folder, &[("HOLD", "0"), ("DRAIN", "300ms")]).await;
    assert_eq!((said.code, secondary(&admin).await), (0, 100.0), "{said:?}");
}
