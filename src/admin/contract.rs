//! The OpenAPI document, which is made of the routes, and what it promises, held against requests.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Extension;
use axum::body::Bytes;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use url::form_urlencoded;
use utoipa::OpenApi;

use super::problem::{self, Problem, kinds};
use crate::config::nearest;

#[derive(OpenApi)]
#[openapi(
    info(title = "dualgate admin API", description = "Errors, conditions, keys and limits: docs/admin-api.md"),
    components(schemas(problem::Document))
)]
struct Frame;

/// The tag of a `POST` that changes nothing, and so has no condition.
pub(super) const QUESTION: &str = "question";

/// What is promised to callers.
pub(super) struct Contract {
    document: Bytes,
    operations: HashMap<(Method, String), Operation>,
}

struct Operation {
    /// The names of its query parameters.
    query: Vec<String>,
    /// The media types of its answers.
    produces: Vec<String>,
}

impl Contract {
    /// Of the routes that need the token, and of those that do not.
    pub(super) fn new(guarded: utoipa::openapi::OpenApi, public: utoipa::openapi::OpenApi) -> Self {
        let mut document = Frame::openapi();
        let guarded_paths: Vec<String> = guarded.paths.paths.keys().cloned().collect();
        document.merge(guarded);
        document.merge(public);
        let mut document = json!(document);
        document["components"]["securitySchemes"] = json!({ "token": { "type": "http", "scheme": "bearer" } });
        let slugs: Vec<String> = kinds::ALL.iter().map(|kind| kind.urn()).collect();
        document["components"]["schemas"]["Problem"]["properties"]["type"]["enum"] = json!(slugs);
        let mut operations = HashMap::new();
        let paths = document["paths"].as_object_mut().into_iter().flatten();
        for (path, item) in paths.filter(|(path, _)| guarded_paths.contains(path)) {
            for (method, operation) in item.as_object_mut().into_iter().flatten() {
                complete(method, operation);
                if let Ok(method) = method.to_ascii_uppercase().parse() {
                    operations.insert((method, path.clone()), Operation::of(operation));
                }
            }
        }
        Self { document: document.to_string().into(), operations }
    }
}

/// `*` or a list of entity tags, and a key in quotes or bare, as the sources that read them take them.
const CONDITION: &str = r#"^(\*|(W/)?"[!#-~]*"([ \t]*,[ \t]*(W/)?"[!#-~]*")*)$"#;
const KEY: &str = r#"^("[!#-+\-.-\[\]-~]{1,255}"|[!#-+\-.-\[\]-~]{1,255})$"#;

/// What holds for every operation behind the token is said here, once.
fn complete(method: &str, operation: &mut Value) {
    // A body that may be missing is not `null` where it is there.
    if let Some(schema) = operation.pointer_mut("/requestBody/content/application~1json/schema")
        && schema["oneOf"].is_array()
    {
        *schema = schema["oneOf"][0].take();
    }
    operation["security"] = json!([{ "token": [] }]);
    let problem = json!({ "$ref": "#/components/schemas/Problem" });
    operation["responses"]["default"] = json!({
        "description": "It was not done, and why.",
        "content": { "application/problem+json": { "schema": problem } },
    });
    if matches!(method, "put" | "post") {
        let header = |name: &str, description: &str, pattern: &str| {
            let schema = json!({ "type": "string", "pattern": pattern });
            json!({ "name": name, "in": "header", "description": description, "schema": schema })
        };
        let actor = header("Dualgate-Actor", "Who asks, for the audit.", "^[!-~]{1,64}$");
        let condition = header("If-Match", "The revision that the caller saw, as its ETag.", CONDITION);
        let key = header("Idempotency-Key", "Names the request: sent again, it is not done again.", KEY);
        if !operation["parameters"].is_array() {
            operation["parameters"] = json!([]);
        }
        let changes = operation["tags"] != json!([QUESTION]);
        let parameters = operation["parameters"].as_array_mut();
        parameters
            .into_iter()
            .for_each(|all| all.extend(changes.then(|| condition.clone()).into_iter().chain([key.clone(), actor.clone()])));
    }
}

impl Operation {
    fn of(document: &Value) -> Self {
        let parameters = document["parameters"].as_array().into_iter().flatten();
        let query = parameters.filter(|parameter| parameter["in"] == "query").filter_map(|one| one["name"].as_str());
        let responses = document["responses"].as_object().into_iter().flatten();
        let good = responses.filter(|(status, _)| status.starts_with('2'));
        let produces = good.flat_map(|(_, response)| response["content"].as_object().into_iter().flatten());
        Self { query: query.map(str::to_owned).collect(), produces: produces.map(|(kind, _)| kind.clone()).collect() }
    }

    /// Every parameter is known, and there once.
    fn check_query(&self, query: &str) -> Result<(), Problem> {
        let mut seen: Vec<String> = Vec::new();
        for (name, _) in form_urlencoded::parse(query.as_bytes()) {
            let wrong = |what: String| Err(Problem::new(kinds::INVALID_QUERY, what));
            if !self.query.iter().any(|known| *known == name) {
                let guess = nearest(&name, self.query.iter().map(String::as_str));
                let known = if self.query.is_empty() { "none".to_owned() } else { self.query.join(", ") };
                let right = guess.map_or(format!("; known here: {known}"), |guess| format!(", did you mean `{guess}`?"));
                return wrong(format!("unknown parameter `{name}`{right}"));
            }
            if seen.iter().any(|seen| *seen == name) {
                return wrong(format!("parameter `{name}` is there twice"));
            }
            seen.push(name.into_owned());
        }
        Ok(())
    }

    /// Something that is produced can be accepted (RFC 9110, 12.5.1). Problems are sent all the same.
    fn check_accept(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let accept = accepted(headers);
        if accept.trim().is_empty() || self.produces.iter().any(|kind| accepts(&accept, kind)) {
            return Ok(());
        }
        let detail = format!("`{accept}` accepts nothing of what this answers with");
        Err(Problem::new(kinds::NOT_ACCEPTABLE, detail).hint(format!("Accept: {}", self.produces.join(", "))))
    }
}

fn accepted(headers: &HeaderMap) -> String {
    let fields = headers.get_all(header::ACCEPT).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
    fields.collect::<Vec<_>>().join(",")
}

/// Whether one kind is wanted more than another, the usual one.
pub(super) fn prefers(headers: &HeaderMap, kind: &str, over: &str) -> bool {
    let accept = accepted(headers);
    weight(&accept, kind) > weight(&accept, over)
}

/// Whether the most specific range that matches does not rule it out.
fn accepts(accept: &str, kind: &str) -> bool {
    weight(accept, kind) > 0.0
}

/// The weight of the most specific range that matches, 0 where none does.
fn weight(accept: &str, kind: &str) -> f32 {
    let family = kind.split('/').next().unwrap_or_default();
    let ranges = accept.split(',').filter_map(|range| {
        let mut parts = range.split(';').map(str::trim);
        let specific = match parts.next()?.to_ascii_lowercase() {
            range if range == kind => 2,
            range if range == format!("{family}/*") => 1,
            range if range == "*/*" => 0,
            _ => return None,
        };
        let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        Some((specific, weight.map_or(1.0, |weight| weight.trim().parse().unwrap_or(0.0))))
    });
    ranges.max_by(|one: &(u8, f32), two| one.0.cmp(&two.0).then(one.1.total_cmp(&two.1))).map_or(0.0, |(_, weight)| weight)
}

/// Holds a request against the document.
pub(super) async fn hold(State(contract): State<Arc<Contract>>, mut request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let method = if request.method() == Method::HEAD { Method::GET } else { request.method().clone() };
    if let Some(operation) = path.and_then(|path| contract.operations.get(&(method, path))) {
        let query = operation.check_query(request.uri().query().unwrap_or_default());
        if let Err(problem) = query.and_then(|()| operation.check_accept(request.headers())) {
            return problem.into_response();
        }
    }
    request.extensions_mut().insert(contract);
    next.run(request).await
}

/// This document.
#[utoipa::path(get, path = "/v1/openapi.json", responses((status = 200, body = Object, description = "OpenAPI 3.1")))]
pub(super) async fn document(Extension(contract): Extension<Arc<Contract>>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], contract.document.clone()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_specific_range_decides() {
        for (accept, wanted) in [
            ("*/*", true),
            ("application/*", true),
            ("text/html, application/json;q=0.1", true),
            ("APPLICATION/JSON", true),
            ("text/html", false),
            ("application/json;q=0, */*", false),
            ("application/*;q=0, application/json", true),
            ("application/json;q=x", false),
            (";,;", false),
        ] {
            assert_eq!(accepts(accept, "application/json"), wanted, "{accept}");
        }
    }

    #[test]
    fn the_usual_kind_is_sent_unless_another_one_is_wanted_more() {
        for (accept, wanted) in [
            ("", false),
            ("*/*", false),
            ("text/markdown", true),
            ("text/*", true),
            ("text/markdown, application/json", false),
            ("text/markdown, */*;q=0.1", true),
            ("text/markdown;q=0.5, application/json;q=0.9", false),
            ("text/markdown;q=0", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, accept.parse().unwrap());
            assert_eq!(prefers(&headers, "text/markdown", "application/json"), wanted, "{accept}");
        }
    }
}
