//! Errors before and after each write of either side.
