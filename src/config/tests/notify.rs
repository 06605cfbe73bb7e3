use super::{SMALLEST, load, load_with, said};
use crate::config::{Hidden, SinkKind, SinkUrl};
use crate::domain::Occasion;

fn with(more: &str) -> String {
    format!("{SMALLEST}[[notify]]\nname = \"ops\"\n{more}")
}

#[test]
fn every_kind_of_sink_is_read_with_what_it_needs() {
    let text = "url_file = \"hook\"\nsecret_file = \"secret\"\nevents = [\"rollback\", \"stable-sick\"]\nservices = [\"notes\"]\n\
                [[notify]]\nname = \"chat\"\nkind = \"slack\"\nurl = \"https://hooks.slack.com/services/T/B/X\"\n\
                [[notify]]\nname = \"page\"\nkind = \"pagerduty\"\nrouting_key_file = \"key\"\ntimeout = \"5s\"\n";
    let sinks = load("f", &with(text), None).unwrap().notify;
    assert_eq!(sinks[0].kind, SinkKind::Generic { secret_file: Some("secret".into()) });
    assert_eq!(sinks[0].url, SinkUrl::File("hook".into()));
    assert_eq!(sinks[0].events, [Occasion::Rollback, Occasion::StableSick]);
    assert_eq!((&sinks[1].kind, sinks[1].timeout.as_secs()), (&SinkKind::Slack, 10));
    assert_eq!(sinks[2].kind, SinkKind::PagerDuty { routing_key_file: "key".into() });
    assert_eq!(sinks[2].url, SinkUrl::Written(Hidden("https://events.pagerduty.com/v2/enqueue".to_owned())));
}

#[test]
fn what_is_wrong_with_a_sink_is_named_by_file_line_and_key_with_what_is_right() {
    let url = "url = \"https://a/b\"\n";
    let cases = [
        (
            with("kind = \"teams\"\nurl = \"https://a\""),
            "dualgate.toml:12: notify[0].kind: `teams` is not one of \"generic\", \"slack\", \"pagerduty\"",
        ),
        (
            with(""),
            "dualgate.toml:10: notify[0].url: where to? url = \"https://…\", or url_file with the name of a file that has it",
        ),
        (
            with("url = \"hooks.example/x\""),
            "dualgate.toml:12: notify[0].url: is not a URL with a scheme and a host, like https://hooks.example.com/dualgate",
        ),
        (
            with("url = \"ftp://a/b\""),
            "dualgate.toml:12: notify[0].url: is not a URL with a scheme and a host, like https://hooks.example.com/dualgate",
        ),
        (
            with(&format!("{url}url_file = \"f\"")),
            "dualgate.toml:12: notify[0].url: url and url_file are both there: one of the two",
        ),
        (
            with(&format!("{url}events = [\"frozen\", \"rolback\"]")),
            "dualgate.toml:13: notify[0].events[1]: `rolback` is no event: did you mean `rollback`?",
        ),
        (
            with(&format!("{url}services = [\"note\"]")),
            "dualgate.toml:13: notify[0].services[0]: there is no service `note`: did you mean `notes`?",
        ),
        (with(&format!("{url}timeout = \"0s\"")), "dualgate.toml:13: notify[0].timeout: must be longer than 0"),
        (with(&format!("{url}timeout = \"2m\"")), "dualgate.toml:13: notify[0].timeout: 2m is too long: at most 1m"),
        (
            with("kind = \"pagerduty\""),
            "dualgate.toml:10: notify[0].routing_key_file: kind = \"pagerduty\" needs the file of the integration's routing key (Events API v2)",
        ),
        (
            with(&format!("{url}kind = \"slack\"\nsecret_file = \"s\"")),
            "dualgate.toml:14: notify[0].secret_file: only kind = \"generic\" is signed: leave it out",
        ),
        (
            with(&format!("{url}routing_key_file = \"s\"")),
            "dualgate.toml:13: notify[0].routing_key_file: only kind = \"pagerduty\" has a routing key: leave it out",
        ),
        (
            with(&format!("{url}[[notify]]\nname = \"ops\"\n{url}")),
            "dualgate.toml:14: notify[1].name: `ops` is the name of another sink",
        ),
        (
            format!("{SMALLEST}[[notify]]\nname = \"a b\"\n{url}"),
            "dualgate.toml:11: notify[0].name: `a b` is not a sink's name: 1 to 64 letters, digits and - _ .",
        ),
        (with(&format!("{url}ulr = 1")), "dualgate.toml:13: notify[0].ulr: unknown key `ulr`, did you mean `url`?"),
    ];
    for (text, expected) in cases {
        assert_eq!(said(&text)[0], expected, "\n{text}");
    }
}

#[test]
fn the_address_of_a_webhook_is_in_no_error_and_in_nothing_that_is_printed() {
    let lookup = |name: &str| (name == "HOOK").then(|| "https://hooks.slack.com/services/T0/B0/topsecret".to_owned());
    let config = load_with("f", &with("kind = \"slack\"\nurl = \"${HOOK}\""), None, lookup).unwrap();
    assert!(!format!("{config:?}").contains("topsecret"));
    assert!(!said(&with("url = \"topsecret\"")).concat().contains("topsecret"));
    let words = said(&with("url = \"http://10.0.0.9/topsecret\""));
    assert!(
        words.len() == 1 && words[0].starts_with("notify[0].url: http:// to another host") && !words[0].contains("topsecret")
    );
    assert!(said(&with("url = \"http://localhost:9/x\"")).is_empty());
}

#[test]
fn a_sink_is_told_of_what_it_wants_and_of_what_settles_it() {
    let text = "url = \"https://a\"\nevents = [\"rollback\"]\nservices = [\"notes\"]\n\
                [[notify]]\nname = \"page\"\nkind = \"pagerduty\"\nrouting_key_file = \"key\"\nevents = [\"rollback\"]";
    let sinks = load("f", &with(text), None).unwrap().notify;
    let takes = |at: usize, service: &str, occasion| sinks[at].takes(service, occasion);
    assert!(takes(0, "notes", Occasion::Rollback) && takes(0, "", Occasion::Rollback));
    assert!(!takes(0, "notes", Occasion::Done) && !takes(0, "tasks", Occasion::Rollback));
    assert!(takes(1, "tasks", Occasion::Done) && !takes(1, "tasks", Occasion::Started));
}

#[test]
fn the_page_about_notifications_lists_every_event() {
    let page = include_str!("../../../docs/notifications.md");
    let listed = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    let listed: Vec<(&str, &str)> = listed.map(|(word, help)| (word, help.trim_end_matches(" |"))).collect();
    let known: Vec<(&str, &str)> = Occasion::ALL.iter().map(|occasion| (occasion.as_str(), occasion.help())).collect();
    assert_eq!(listed, known);
}
