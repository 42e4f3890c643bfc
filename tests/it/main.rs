//! Whole-system tests: a private cloud with real PostgreSQL and NATS, simulated hosts, and the real `openstack` client.
//!
//! `Cloud` starts one and leaves nothing behind, however the tests end. Tests of what users see share one cloud and use
//! names of their own; those that break things start theirs.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod client;
mod cloud;
mod http;
mod wait;

mod audit;
mod bad_input;
mod compute;
mod faults;
mod identity;
mod image;
mod image_data;
mod life;
mod network;
mod network_api;
mod pause;
mod policy;
mod replicas;
mod tools;
