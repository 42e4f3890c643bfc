//! Real guests on private machines: libvirt, bridges, DHCP and metadata, and what happens when any of it breaks.
//!
//! Needs root. `Machine` is a machine in namespaces, `Lab` a cloud on one; nothing of either is left, however the tests end.
//! Tests of what users see share one cloud; those that break things share another, one after the other.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[allow(dead_code)]
#[path = "../it/http.rs"]
mod http;
mod lab;
mod machine;
#[path = "../it/wait.rs"]
mod wait;

mod disk;
mod down;
mod faults;
mod hangs;
mod hosts;
mod life;
mod power;
mod quiet;
