//! dualgate: a traffic-splitting reverse proxy for dual-entry deploys of MCP servers.
//!
//! ```text
//!  5  main.rs  app.rs                    wiring, nothing else
//!  4  admin/  cli/  demo/                faces: words in, words out
//!  3  proxy/  control/                   traffic | decisions  (siblings, strangers)
//!  2  live/  upstream/  tls/             the snapshot cell and the store | what talks to an entry | certificates
//!  1  config/  telemetry/                file -> types | names of metrics and log fields
//!  0  domain/  mcp/  http1/              PURE: split, pins, machine | envelope scan, SSE, seal | heads and framing of answers
//! ```
//!
//! An import points down only, and siblings do not import each other; `tests/floors.rs` holds it
//! and lists the few exceptions.

pub mod admin;
pub mod app;
pub mod cli;
pub mod config;
pub mod control;
pub mod demo;
pub mod domain;
pub mod http1;
pub mod live;
pub mod mcp;
pub mod proxy;
mod swar;
pub mod telemetry;
pub mod tls;
pub mod upstream;
