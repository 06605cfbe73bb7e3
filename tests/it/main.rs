//! The app by real sockets: in process, port zero, scripted servers behind it.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod admin;
mod answers;
mod api;
mod audit;
mod books;
mod cli;
mod codings;
mod edges;
mod eras;
mod evidence;
mod form;
mod health;
mod hostile;
mod http2;
mod http_sse;
mod instances;
mod logs;
mod modern;
mod notify;
mod oauth;
mod operate;
mod outcomes;
mod passage;
mod reload;
mod restart;
mod resumed;
mod rollback;
mod scripts;
mod sessions;
mod split;
mod stop;
mod streams;
mod support;
mod tls;
