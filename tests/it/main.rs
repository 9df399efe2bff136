//! The one integration binary; each module proves one kind of promise.
mod filter;
