//! Taps: reading and replacing activations during a forward pass.

use candle_core::Tensor;
use engram_core::Site;
use indexmap::IndexMap;

use crate::error::Result;

/// Receives the value at each site as the forward pass computes it, and may replace it.
pub trait Tap {
    /// Whether this site's value is wanted. Sites that a plain forward pass does not compute (`head_out`, `pattern`,
    /// scales) are computed only for taps that want them.
    fn wants(&self, site: Site, layer: Option<usize>) -> bool;

    /// Receives the value at a site, batch first; the returned value is used from there on. Called only if
    /// [`Tap::wants`] returned true.
    ///
    /// # Errors
    /// Any error stops the run.
    fn at(&mut self, site: Site, layer: Option<usize>, value: Tensor) -> Result<Tensor>;
}

/// A tap that wants nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoTap;

impl Tap for NoTap {
    fn wants(&self, _: Site, _: Option<usize>) -> bool {
        false
    }

    fn at(&mut self, _: Site, _: Option<usize>, value: Tensor) -> Result<Tensor> {
        Ok(value)
    }
}

/// A tap that stores the values of chosen sites: an activation cache.
#[derive(Debug, Default)]
pub struct Capture {
    /// The values, in the order in which [`Capture::of`] named the sites; `None` before the run.
    pub values: IndexMap<(Site, Option<usize>), Option<Tensor>>,
}

impl Capture {
    /// Will store these sites.
    pub fn of(sites: impl IntoIterator<Item = (Site, Option<usize>)>) -> Capture {
        Capture {
            values: sites.into_iter().map(|key| (key, None)).collect(),
        }
    }

    /// The value at a site, after the run.
    pub fn get(&self, site: Site, layer: Option<usize>) -> Option<&Tensor> {
        self.values.get(&(site, layer)).and_then(|v| v.as_ref())
    }
}

impl Tap for Capture {
    fn wants(&self, site: Site, layer: Option<usize>) -> bool {
        self.values.contains_key(&(site, layer))
    }

    fn at(&mut self, site: Site, layer: Option<usize>, value: Tensor) -> Result<Tensor> {
        if let Some(slot) = self.values.get_mut(&(site, layer)) {
            *slot = Some(value.clone());
        }
        Ok(value)
    }
}
