//! Promises: settled from any thread, always exactly once, never by a panic.

use asteroid_core::{Code, Error, Result};
use napi::bindgen_prelude::{JsValue, Object, ToNapiValue};
use napi::{Env, JsDeferred, sys};
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A value of the environment that a reply is built in.
pub(crate) type Raw = sys::napi_value;
type Build = Box<dyn FnOnce(Env) -> napi::Result<Raw> + Send>;

/// A pending promise. Dropped unsettled, it rejects with `CLOSED`: its job was discarded.
pub(crate) struct Pending(Option<JsDeferred<Raw, Build>>);

/// A new promise and the means to settle it. The pending promise keeps the event loop alive.
pub(crate) fn promise<'env>(env: &'env Env) -> napi::Result<(Pending, Object<'env>)> {
    let (deferred, promise) = env.create_deferred()?;
    Ok((Pending(Some(deferred)), promise))
}

impl Pending {
    /// Runs `work` here and now, then settles with what `reply` makes of its result on the main thread.
    pub(crate) fn settle_with<T: Send + 'static>(
        self,
        work: impl FnOnce() -> Result<T>,
        reply: impl FnOnce(&Env, T) -> napi::Result<Raw> + Send + 'static,
    ) {
        match guarded(work) {
            Ok(value) => self.resolve(value, reply),
            Err(error) => self.reject(&error),
        }
    }

    /// Resolves to what `reply` makes of `value` on the main thread.
    pub(crate) fn resolve<T: Send + 'static>(
        mut self,
        value: T,
        reply: impl FnOnce(&Env, T) -> napi::Result<Raw> + Send + 'static,
    ) {
        if let Some(deferred) = self.0.take() {
            deferred.resolve(Box::new(move |env| reply(&env, value)));
        }
    }

    /// Rejects.
    pub(crate) fn reject(mut self, error: &Error) {
        if let Some(deferred) = self.0.take() {
            deferred.reject(to_napi(error));
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some(deferred) = self.0.take() {
            deferred.reject(to_napi(&closed()));
        }
    }
}

/// `CLOSED`.
pub(crate) fn closed() -> Error {
    Error::new(Code::Closed, "the database is closed: open it again to use it")
}

/// Runs `work`; a panic in it becomes `INTERNAL`.
pub(crate) fn guarded<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        Err(Error::new(
            Code::Internal,
            format!("a bug in asteroid-db stopped this call: {} (please report it)", panic_text(&*panic)),
        ))
    })
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

/// [`text_of`] as an error that JavaScript gets.
pub(crate) fn to_napi(error: &Error) -> napi::Error {
    napi::Error::from_reason(text_of(error))
}

/// Code, message and causes on lines of their own: the facade makes an `AsteroidError` of them.
pub(crate) fn text_of(error: &Error) -> String {
    let mut text = format!("{}\n{}", error.code().as_str(), error.message().replace('\n', " "));
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push('\n');
        text.push_str(&cause.to_string().replace('\n', " "));
        source = cause.source();
    }
    text
}

/// The JavaScript value of `value`.
pub(crate) fn value<T: ToNapiValue>(env: &Env, value: T) -> napi::Result<Raw> {
    Ok(value.into_unknown(env)?.raw())
}

/// `undefined`.
pub(crate) fn nothing(env: &Env, (): ()) -> napi::Result<Raw> {
    value(env, ())
}
