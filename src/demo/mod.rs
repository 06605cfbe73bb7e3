//! `dualgate demo`: two embedded MCP servers, the proxy, and live traffic.
