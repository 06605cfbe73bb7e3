//! Targets, as clients write them and as endpoints are asked for them.

use http::Uri;
use http::uri::PathAndQuery;

use crate::config::Service;

/// The target that an endpoint is asked for: path and query, without the prefix where that is stripped; and the slash
/// that it may want in front.
pub(super) fn stripped<'a>(uri: &'a Uri, service: &Service) -> (&'static str, &'a str) {
    let target = path_and_query(uri);
    let kept = if service.strip_prefix { target.strip_prefix(service.path.as_str()).unwrap_or(target) } else { target };
    (if kept.starts_with('/') { "" } else { "/" }, kept)
}

/// Without scheme and authority; `/` where there is nothing else.
pub(super) fn path_and_query(uri: &Uri) -> &str {
    uri.path_and_query().map_or("/", PathAndQuery::as_str)
}

/// What [`stripped`] gives, as a URI.
pub(super) fn origin_form(uri: &Uri, service: &Service) -> Uri {
    let (slash, kept) = stripped(uri, service);
    format!("{slash}{kept}").parse::<PathAndQuery>().map(Uri::from).unwrap_or_else(|_| Uri::from_static("/"))
}
