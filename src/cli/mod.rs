//! The command line: talks to the admin API only, prints for people or as JSON.
