//! Exhaustive models. They step real claims through every order of steps and faults, up to the bounds of
//! small scenes.
//!
//! `keyspaces.py` is the model with which the rules of `design/key-changes.md` were found, before there was
//! code.

mod keyspaces;
mod principals;
