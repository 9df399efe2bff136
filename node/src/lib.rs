//! The Node and Electron addon.
