//! Errors and values on their way out.

use asteroid_core::{Error, Result};
use wasm_bindgen::JsValue;

/// What a call of the engine gives JavaScript.
pub(crate) type Reply = std::result::Result<JsValue, JsValue>;

/// Code, message and causes on lines of their own: the facade makes an `AsteroidError` of them.
pub(crate) fn to_js(error: &Error) -> JsValue {
    let mut text = format!("{}\n{}", error.code().as_str(), error.message().replace('\n', " "));
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push('\n');
        text.push_str(&cause.to_string().replace('\n', " "));
        source = cause.source();
    }
    js_sys::Error::new(&text).into()
}

/// The JavaScript value of a result.
pub(crate) fn reply<T: Into<JsValue>>(result: Result<T>) -> Reply {
    result.map(Into::into).map_err(|error| to_js(&error))
}

/// `undefined`, or the error.
pub(crate) fn done(result: Result<()>) -> Reply {
    reply(result.map(|()| JsValue::UNDEFINED))
}
