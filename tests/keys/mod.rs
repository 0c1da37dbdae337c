//! What makes two requests the same operation: keys, principals, and changes of either.

pub mod changes;
pub mod lost;
pub mod older_generations;
pub mod principal_changed;
pub mod principals;
