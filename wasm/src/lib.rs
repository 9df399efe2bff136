//! The browser's side of the engine: conversion and error mapping, no database logic.
//!
//! Runs in a dedicated worker, whose JavaScript (`js/worker`) opens the files, queues the calls and answers them.
//! Every call here is synchronous. The module has one thread, so a long call holds up all others: inserts go in
//! steps, and what else takes long asks `host` whether to stop.

#![cfg(target_family = "wasm")]

mod bulk;
#[cfg(feature = "conformance")]
mod conformance;
mod convert;
mod engine;
mod fields;
mod files;
mod host;
mod insert;
mod open;
mod reads;
mod reply;
mod stage;
mod transfer;
