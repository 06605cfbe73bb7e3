use super::check::load_with;
use super::*;

mod notify;
mod rollout;

const SMALLEST: &str = r#"
[[service]]
name = "notes"
[service.primary]
version = "1"
endpoints = ["http://127.0.0.1:3000"]
[service.secondary]
version = "2"
endpoints = ["http://127.0.0.1:3001"]
"#;

fn said(text: &str) -> Vec<String> {
    match load("dualgate.toml", text, None) {
        Ok(config) => config.warnings,
        Err(errors) => errors.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn the_smallest_file_has_all_defaults() {
    let config = load("f", SMALLEST, None).unwrap();
    assert_eq!(config.listen.to_string(), "0.0.0.0:8080");
    assert_eq!(config.admin.listen.to_string(), "127.0.0.1:9900");
    let service = &config.services[0];
    assert_eq!(service.rules.split.to_string(), "100:0");
    assert_eq!(service.rules.entries.primary.endpoints[0].name, "127.0.0.1:3000");
    assert_eq!(service.affinity.keys.iter().map(ToString::to_string).collect::<Vec<_>>(), ["api-key", "jwt:sub", "address"]);
    assert_eq!(service.traffic.first_byte_timeout, Duration::from_secs(300));
}

/// The example shows every key with its default: taking all its values out changes nothing.
#[test]
fn the_example_file_shows_the_defaults() {
    let example = include_str!("../../config/example.toml");
    let shown = load("f", example, None).unwrap_or_else(|errors| panic!("{errors:?}"));
    let smallest = load("f", SMALLEST, None).unwrap();
    let keep = |config: &Config| Config {
        metrics: None,
        admin: Admin { token_file: None, ..config.admin.clone() },
        warnings: Vec::new(),
        ..config.clone()
    };
    let mut shown = keep(&shown);
    shown.services[0].rules.entries = smallest.services[0].rules.entries.clone();
    assert_eq!(shown, keep(&smallest));
}

/// The same for what is commented out, since it cannot have a default.
#[test]
fn the_commented_sections_of_the_example_file_show_the_defaults_too() {
    let uncomment =
        |line: &str| line.strip_prefix("# ").filter(|rest| rest.starts_with('[') || rest.contains(" = ")).map(str::to_owned);
    let example = include_str!("../../config/example.toml").lines();
    let text: Vec<String> = example.skip(5).map(|line| uncomment(line).unwrap_or_else(|| line.to_owned())).collect();
    let shown = load("f", &text.join("\n"), None).unwrap_or_else(|errors| panic!("{errors:?}"));
    let bare = "[tls]\nlisten = \"0.0.0.0:8443\"\ncertificates = [{ cert = \"tls.crt\", key = \"tls.key\" }]\n\
                [admin.tls]\ncertificates = [{ cert = \"admin.crt\", key = \"admin.key\" }]\n";
    let metric = "[[service.judge.metric]]\nname = \"orders\"\nmin = 0.5\nmax = 100.0\n\
                  prometheus = \"http://127.0.0.1:9091\"\nquery = \"sum(rate(orders_total[5m]))\"\n";
    let sink = "[[notify]]\nname = \"on-call\"\nurl = \"https://hooks.example.com/dualgate\"\n";
    let bare = load("f", &format!("{bare}{SMALLEST}{metric}{sink}"), None).unwrap();
    assert_eq!(shown.services[0].judge, bare.services[0].judge);
    assert_eq!((shown.tls, shown.admin.tls, shown.notify), (bare.tls, bare.admin.tls, bare.notify));
    let pair = KeyPair { cert: "client.crt".into(), key: "client.key".into() };
    assert_eq!(shown.services[0].tls, ClientTls { client_certificate: Some(pair), ..ClientTls::default() });
}

#[test]
fn port_in_the_environment_overrides_the_port() {
    assert_eq!(load("f", SMALLEST, Some("7000")).unwrap().listen.to_string(), "0.0.0.0:7000");
    assert_eq!(load("f", SMALLEST, Some("")).unwrap().listen.port(), 8080, "empty is unset");
    assert!(load("f", SMALLEST, Some("x")).unwrap_err()[0].to_string().contains("PORT in the environment is `x`"));
}

#[test]
fn every_error_names_file_line_key_and_what_would_be_right() {
    let with = |more: &str| format!("{SMALLEST}{more}");
    let cases = [
        (
            with("[service.split]\nprimary = 90\nsecondary = 20"),
            "dualgate.toml:10: service[0].split: primary 90 and secondary 20 make 110, but must make 100",
        ),
        (
            with("[service.split]\nprimary = 101"),
            "dualgate.toml:11: service[0].split.primary: `101` is not a share: a number from 0 to 100 with at most two decimals",
        ),
        (
            with("[service.split]\nprimary = -1"),
            "dualgate.toml:11: service[0].split.primary: `-1` is not a share: a number from 0 to 100 with at most two decimals",
        ),
        (
            with("[service.split]\nprimary = \"50\""),
            "dualgate.toml:11: service[0].split.primary: invalid type: string \"50\", expected a share: a number from 0 to 100 with at most two decimals",
        ),
        (
            with("[service.health]\ninterval = 5"),
            "dualgate.toml:11: service[0].health.interval: invalid type: integer `5`, expected a duration in quotes, like \"2s\" or \"10m\"",
        ),
        (
            with("[service.health]\ninterval = \"5\""),
            "dualgate.toml:11: service[0].health.interval: `5` is not a duration: write a whole number and a unit, like 500ms, 2s, 10m, 1h, 2d",
        ),
        (
            with("[service.health]\ninterval = \"1s\"\ntimeout = \"2s\""),
            "dualgate.toml:12: service[0].health.timeout: 2s is longer than the interval of 1s",
        ),
        (
            with("[service.health]\nkind = \"ping\""),
            "dualgate.toml:11: service[0].health.kind: `ping` is not one of \"mcp\", \"http\", \"tcp\"",
        ),
        (
            with("[service.healht]\nkind = \"mcp\""),
            "dualgate.toml:10: service[0].healht: unknown key `healht`, did you mean `health`?",
        ),
        (
            with("[service.affinity]\nkeys = [\"cookie\"]"),
            "dualgate.toml:11: service[0].affinity.keys[0]: `cookie` is not a client key: one of api-key, jwt:CLAIM, header:NAME, address",
        ),
        (
            "listen = \"8080\"\n".to_owned() + SMALLEST,
            "dualgate.toml:1: listen: `8080` is not an address with a port, like 127.0.0.1:8080 or [::1]:8080",
        ),
        (
            "[admin]\nlisten = \"0.0.0.0:9900\"\n".to_owned() + SMALLEST,
            "dualgate.toml:2: admin.listen: 0.0.0.0:9900 is not a loopback address, and the admin API without TLS stays on loopback (127.0.0.1:9900); [admin.tls] lifts this",
        ),
        (
            "listen = \"127.0.0.1:9900\"\n".to_owned() + SMALLEST,
            "dualgate.toml: admin.listen: 127.0.0.1:9900 is the traffic listener's address too",
        ),
        (
            "listen = \"127.0.0.1:3000\"\n".to_owned() + SMALLEST,
            "dualgate.toml:7: service[0].primary.endpoints: http://127.0.0.1:3000 is the address this proxy listens on: it would loop",
        ),
        (
            SMALLEST.replace("3001", "3000"),
            "dualgate.toml:9: service[0].secondary.endpoints: http://127.0.0.1:3000 is an endpoint of primary too: the entries share none",
        ),
        (
            SMALLEST.replace(":3001", ":70000"),
            "dualgate.toml:9: service[0].secondary.endpoints: `http://127.0.0.1:70000`: the port is a number from 1 to 65535",
        ),
        (
            SMALLEST.replace(":3001", ":3001/mcp"),
            "dualgate.toml:9: service[0].secondary.endpoints: `http://127.0.0.1:3001/mcp`: an endpoint has no path (here `/mcp`): the path of the client's request is kept",
        ),
        (
            SMALLEST.replace("http://127.0.0.1:3001", "ftp://x"),
            "dualgate.toml:9: service[0].secondary.endpoints: `ftp://x`: scheme `ftp` is not known; use http://host:port",
        ),
        (
            SMALLEST.replace("127.0.0.1:3001", "u:p@h:1"),
            "dualgate.toml:9: service[0].secondary.endpoints: `http://u:p@h:1`: no user or password in an endpoint; clients' credentials are passed on",
        ),
        (String::new(), "dualgate.toml: service: at least one [[service]] is needed, with name, primary and secondary"),
        (
            "[state]\ndir = \"\"\n".to_owned() + SMALLEST,
            "dualgate.toml:2: state.dir: without a state directory every service needs split.authority = \"config\"; `notes` has \"state\"",
        ),
    ];
    for (text, expected) in cases.into_iter().chain(more_cases()) {
        assert_eq!(said(&text)[0], expected, "\n{text}");
    }
}

fn more_cases() -> Vec<(String, &'static str)> {
    let with = |more: &str| format!("{SMALLEST}{more}");
    let before = |more: &str| format!("{more}\n{SMALLEST}");
    vec![
        (
            with("[service.health]\npath = \"/m cp\""),
            "dualgate.toml:11: service[0].health.path: `/m cp` is not a path: it starts with `/` and has no blanks or control characters",
        ),
        (
            with("[service.health]\npath = \"/mcp\\r\\nX: y\""),
            "dualgate.toml:11: service[0].health.path: `/mcp\\r\\nX: y` is not a path: it starts with `/` and has no blanks or control characters",
        ),
        (
            before("listen = \"0.0.0.0:9900\""),
            "dualgate.toml: admin.listen: 127.0.0.1:9900 is the traffic listener's address too",
        ),
        (before("metrics = { listen = \"[::]:9900\" }"), "dualgate.toml:1: metrics.listen: is another listener's address too"),
        (
            SMALLEST.replace("127.0.0.1:3000", "localhost:8080"),
            "dualgate.toml:6: service[0].primary.endpoints: http://localhost:8080 is the address this proxy listens on: it would loop",
        ),
        (
            SMALLEST.replace("127.0.0.1:3000", "localhost:9900"),
            "dualgate.toml:6: service[0].primary.endpoints: http://localhost:9900 is the admin listener's address: clients have no business there",
        ),
        (
            before("metrics = { listen = \"0.0.0.0:3000\" }"),
            "dualgate.toml:7: service[0].primary.endpoints: http://127.0.0.1:3000 is the metrics listener's address",
        ),
    ]
}

#[test]
fn the_environment_goes_into_strings_and_its_values_into_no_error() {
    let lookup = |name: &str| (name == "SECRET").then(|| "hunter2hunter2".to_owned());
    let loaded = |text: &str| load_with("dualgate.toml", text, None, lookup);
    let config = loaded(&SMALLEST.replace("\"1\"", "\"${SECRET}\"")).unwrap();
    assert_eq!(config.services[0].rules.entries.primary.version, "hunter2hunter2");
    let said = |text: String| loaded(&text).unwrap_err()[0].to_string();
    assert_eq!(
        said(SMALLEST.replace("\"1\"", "\"${NO}\"")),
        "dualgate.toml:5: service[0].primary.version: `NO` is not set in the environment"
    );
    for wrong in ["listen = \"${SECRET}\"", "threads = \"${SECRET}\""] {
        let said = said(format!("{wrong}\n{SMALLEST}"));
        assert!(said.starts_with("dualgate.toml:1: ") && said.contains("${SECRET}") && !said.contains("hunter2"), "{said}");
    }
}

#[test]
fn every_address_of_a_name_can_be_an_endpoint_and_an_address_has_no_others() {
    let with = |endpoint: &str| SMALLEST.replace("\"http://127.0.0.1:3000\"", endpoint);
    let file = with("{ name = \"a\", url = \"http://notes.svc:3000\", resolve = \"each\" }");
    let spec = load("f", &file, None).unwrap().services[0].rules.entries.primary.endpoints[0].clone();
    assert_eq!((spec.name.as_str(), spec.resolve), ("a", Some(crate::domain::machine::Resolve::Each)));
    let prefix = "dualgate.toml:6: service[0].primary.endpoints: ";
    for (endpoint, expected) in [
        (
            "{ url = \"http://[::1]:3000\", resolve = \"each\" }",
            "`http://[::1]:3000`: resolve = \"each\" is for a name; an address is an instance already, so leave `resolve` out",
        ),
        (
            "{ url = \"http://notes.svc:3000\", resolve = \"all\" }",
            "resolve = `all` is not known: \"each\" makes every address an instance of its own",
        ),
        (
            "{ name = \"a@10.0.0.7\", url = \"http://notes.svc:3000\" }",
            "`a@10.0.0.7` is not an endpoint name: 1 to 64 letters, digits and - _ . :",
        ),
    ] {
        assert_eq!(said(&with(endpoint)), [format!("{prefix}{expected}")]);
    }
    let zero = format!("{SMALLEST}[service.health]\nresolve_interval = \"0s\"");
    assert_eq!(said(&zero), ["dualgate.toml:11: service[0].health.resolve_interval: must be longer than 0"]);
}

#[test]
fn a_known_endpoint_keeps_its_name() {
    let text = |name: Option<&str>, url: &str| EndpointText { name: name.map(str::to_owned), url: url.into(), resolve: None };
    let known = [crate::domain::machine::EndpointSpec::new("a", "http://h:80")];
    let names = |texts: &[EndpointText]| {
        endpoints_beside(texts, &known).map(|specs| specs.into_iter().map(|spec| spec.name).collect::<Vec<_>>())
    };
    assert_eq!(names(&[text(None, "http://h"), text(None, "http://i:1")]).unwrap(), ["a", "i:1"]);
    assert_eq!(names(&[text(Some("b"), "http://h")]).unwrap(), ["b"]);
    assert!(names(&[text(None, "http://h"), text(Some("a"), "http://i:1")]).unwrap_err().contains("is there twice"));
}

#[test]
fn a_syntax_error_has_its_line_and_a_byte_order_mark_and_crlf_are_fine() {
    assert!(said("listen = \n")[0].starts_with("dualgate.toml:1:"), "{:?}", said("listen = \n"));
    assert!(load("f", &format!("\u{feff}{}", SMALLEST.replace('\n', "\r\n")), None).is_ok());
}

#[test]
fn two_services_that_no_request_could_tell_apart_are_refused() {
    let twice = format!("{SMALLEST}{}", SMALLEST.replace("notes", "tasks").replace(":300", ":400"));
    assert!(said(&twice)[0].contains("no request could tell them apart"));
    let apart = format!("{SMALLEST}{}", SMALLEST.replace("notes\"", "tasks\"\npath = \"/tasks\"").replace(":300", ":400"));
    let names: Vec<String> = load("f", &apart, None).unwrap().services.into_iter().map(|service| service.name).collect();
    assert_eq!(names, ["tasks", "notes"], "the longer prefix is tried first");
}

#[test]
fn blocks_of_addresses_hold_what_they_should() {
    let contains = |block: &str, address: &str| Network::parse(block).unwrap().contains(address.parse().unwrap());
    assert!(contains("10.0.0.0/8", "10.1.2.3") && !contains("10.0.0.0/8", "11.0.0.1"));
    assert!(contains("127.0.0.1", "::ffff:127.0.0.1") && !contains("127.0.0.1", "127.0.0.2"));
    assert!(contains("0.0.0.0/0", "1.2.3.4") && contains("fd00::/8", "fd12::1"));
    assert!(Network::parse("10.0.0.0/33").is_none() && Network::parse("x").is_none());
}

/// Every key of the example, with a value of no use: the error names the key and its line.
#[test]
fn every_key_names_itself_and_its_line_when_its_value_is_of_another_kind() {
    let example = include_str!("../../config/example.toml");
    let uncommented: Vec<String> = example
        .lines()
        .enumerate()
        .map(|(at, line)| match line.strip_prefix("# ") {
            Some(rest) if at > 4 && (rest.starts_with('[') || rest.contains(" = ")) => rest.to_owned(),
            _ => line.to_owned(),
        })
        .collect();
    let (mut header, mut seen) = (String::new(), 0);
    for (at, line) in uncommented.iter().enumerate() {
        let line = line.split('#').next().unwrap().trim();
        if line.starts_with('[') {
            let name = line.trim_matches(['[', ']']);
            let of_service = name.replacen("service.", "service[0].", 1);
            header = if line.starts_with("[[") { format!("{of_service}[0]") } else { of_service };
            continue;
        }
        let Some((name, _)) = line.split_once(" = ") else { continue };
        let mut wrong = uncommented.clone();
        wrong[at] = format!("{name} = [[[]]]");
        let key = if header.is_empty() { name.to_owned() } else { format!("{header}.{name}") };
        let errors = said(&wrong.join("\n"));
        let expected = format!("dualgate.toml:{}: {key}", at + 1);
        assert!(errors[0].starts_with(&expected), "wanted {expected}, got {errors:?}");
        seen += 1;
    }
    assert!(seen > 60, "{seen} keys");
}

#[test]
fn a_key_that_is_there_twice_is_named_with_both_its_lines() {
    let twice = SMALLEST.replace("name = \"notes\"", "name = \"notes\"\nhosts = []\nname = \"x\"");
    let words = "is there twice, first on line 3 (every service begins with [[service]], in double brackets)";
    assert_eq!(said(&twice), [format!("dualgate.toml:5: `name` {words}")]);
    let tables = format!("[limits]\nrequests = 1\n[limits]\n{SMALLEST}");
    assert!(said(&tables)[0].starts_with("dualgate.toml:3: `limits` is there twice, first on line 1"), "{:?}", said(&tables));
}

#[test]
fn bytes_that_are_no_text_have_their_line() {
    assert_eq!(text(b"a = 1\n# \xff".to_vec()), Err("line 2 is not text in UTF-8".to_owned()));
    assert_eq!(text("a = \"\u{e9}\"".into()), Ok("a = \"\u{e9}\"".to_owned()));
}

#[test]
fn what_is_legal_and_foolish_gets_a_word() {
    let cases = [
        (SMALLEST.replace("\"2\"", "\"1\""), "service[0].secondary.version: both entries are `1`"),
        (
            format!("{SMALLEST}[service.split]\nprimary = 50\nsecondary = 50\n[service.traffic]\nfailover = false"),
            "service[0].traffic.failover: ",
        ),
        (format!("{SMALLEST}[service.traffic]\nerror_shape = \"http\""), "service[0].traffic.error_shape: "),
        (format!("{SMALLEST}[service.traffic]\nkeep_alive = \"0s\""), "service[0].traffic.keep_alive: "),
        (format!("{SMALLEST}[service.traffic]\npeek_limit = \"100B\""), "service[0].traffic.peek_limit: "),
        (format!("{SMALLEST}[service.health]\nkind = \"tcp\""), "service[0].health.kind: "),
        (format!("{SMALLEST}[service.health]\nfall = 1"), "service[0].health.fall: "),
    ];
    assert_eq!(said(SMALLEST), Vec::<String>::new());
    for (text, expected) in cases {
        let said = said(&text);
        assert!(said.len() == 1 && said[0].starts_with(expected), "{expected}: {said:?}");
    }
}
