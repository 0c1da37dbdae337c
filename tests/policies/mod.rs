//! Policies: written, loaded, reloaded, and those that misbehave.

pub mod bad_components;
pub mod bad_guests;
pub mod hostile;
pub mod isolation;
pub mod kit;
pub mod languages;
pub mod large_bodies;
pub mod pages;
pub mod promise;
pub mod reload;
pub mod rollback;
pub mod selftest;
pub mod shelf;
pub mod verbs;
