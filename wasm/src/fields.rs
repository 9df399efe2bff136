//! Plain objects, field by field: a library for it would be more than the rest of this crate in the download.

use asteroid_core::{Error, Result};
use js_sys::{Array, Object, Reflect};
use wasm_bindgen::{JsCast, JsValue};

/// The fields of an object that the facade made. It has checked their types; what slipped through is refused.
pub(crate) struct Fields(JsValue);

impl Fields {
    pub(crate) fn of(object: JsValue) -> Fields {
        Fields(object)
    }

    /// `None` where it is left out.
    fn get(&self, name: &str) -> Option<JsValue> {
        let value = Reflect::get(&self.0, &name.into()).unwrap_or(JsValue::UNDEFINED);
        (!value.is_undefined() && !value.is_null()).then_some(value)
    }

    fn read<T>(&self, name: &str, read: impl FnOnce(JsValue) -> Option<T>) -> Result<Option<T>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        read(value).map(Some).ok_or_else(|| wrong(name))
    }

    pub(crate) fn flag(&self, name: &str) -> Result<bool> {
        Ok(self.read(name, |value| value.as_bool())?.unwrap_or(false))
    }

    pub(crate) fn number(&self, name: &str) -> Result<Option<f64>> {
        self.read(name, |value| value.as_f64())
    }

    /// A whole number of 32 bits.
    pub(crate) fn count(&self, name: &str) -> Result<Option<u32>> {
        self.read(name, |value| value.as_f64().filter(|&n| f64::from(n as u32) == n).map(|n| n as u32))
    }

    /// A whole number of 64 bits: a bigint, or a number.
    pub(crate) fn long(&self, name: &str) -> Result<Option<u64>> {
        self.read(name, |value| match value.as_f64() {
            Some(n) => Some(n as u64).filter(|&whole| whole as f64 == n),
            None => u64::try_from(value).ok(),
        })
    }

    pub(crate) fn text(&self, name: &str) -> Result<Option<String>> {
        self.read(name, |value| value.as_string())
    }

    pub(crate) fn texts(&self, name: &str) -> Result<Vec<String>> {
        let texts = |value: JsValue| value.dyn_ref::<Array>()?.iter().map(|text| text.as_string()).collect();
        Ok(self.read(name, texts)?.unwrap_or_default())
    }

    pub(crate) fn object(&self, name: &str) -> Option<Fields> {
        self.get(name).map(Fields)
    }
}

fn wrong(name: &str) -> Error {
    Error::invalid(format!("{name} has a value of another type than it takes"))
}

/// Sets a field of a fresh plain object, which cannot fail.
pub(crate) fn set(object: &Object, name: &str, value: impl Into<JsValue>) {
    let _ = Reflect::set(object, &name.into(), &value.into());
}

/// A plain object of numbers.
pub(crate) fn numbers(fields: &[(&str, f64)]) -> Object {
    let out = Object::new();
    for &(name, value) in fields {
        set(&out, name, value);
    }
    out
}
