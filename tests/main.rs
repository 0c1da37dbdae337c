//! Black-box tests: the real binary as a process, real sockets, an upstream that keeps its own
//! account. The rooms are claims about what people see (DESIGN §4, §5, §8, §10); `support` is what
//! they stand on; `accept_a` and the like measure what the issues ask for `tests/run accept A|B|C`.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(dead_code, reason = "support offers whole families of which a room takes what it needs")]

mod accept_a;
mod accept_b;
mod accept_c;
mod answers;
mod bad_guests;
mod bad_input;
mod bad_policies;
mod clients;
mod commands;
mod crash;
mod dedup;
mod framing;
mod guests;
mod hostile;
mod inflight;
mod isolation;
mod judging;
mod keychanges;
mod keyreaders;
mod languages;
mod ledger_time;
mod lostkeys;
mod operations;
mod outcomes;
mod outlook;
mod pages;
mod pauses;
mod points;
mod policy_kit;
mod power_loss;
mod presentation;
mod principal_changed;
mod principals;
mod probes;
mod promise;
mod reload;
mod rollback;
mod selftest;
mod settlements;
mod shelf;
mod shutdown;
mod store_failure;
mod store_trouble;
mod support;
mod time;
