//! Functions of a caller's own at any site of a run: they read a value, and what they return goes on through the network.

use candle_core::Tensor;
use engram_core::{NamedSite, Site};
use engram_model::{ModelError, Tap};

use crate::error::{Error, Result};
use crate::model::Model;

/// A function at a site: it is given the value ([pos, …], heads apart where the site has heads; [head, query, key] for a
/// pattern) and gives what takes its place, of the same shape.
type Hook<'f> = Box<dyn FnMut(Tensor) -> candle_core::Result<Tensor> + 'f>;

/// Hooks for a run of one model.
///
/// ```no_run
/// use engram::{Hooks, Model};
///
/// let model = Model::open("SmolLM2-135M.gguf")?;
/// let mut hooks = Hooks::of(&model);
/// hooks.on("resid_pre.3", |value| value * 0.5)?;
/// let ids = model.ids("The capital of France is")?;
/// let logits = model.run(&ids, &mut hooks)?;
/// # Ok::<(), engram::Error>(())
/// ```
pub struct Hooks<'m, 'f> {
    model: &'m Model,
    /// Each function with its sites.
    hooks: Vec<(Vec<NamedSite>, Hook<'f>)>,
}

impl<'m, 'f> Hooks<'m, 'f> {
    /// No hook yet.
    pub fn of(model: &'m Model) -> Hooks<'m, 'f> {
        Hooks {
            model,
            hooks: Vec::new(),
        }
    }

    /// Adds a function at a site, by any of its names; without a layer, at every layer's. Functions at one site are called in
    /// the order in which they were added.
    ///
    /// # Errors
    /// [`Error::Core`] for a name that matches nothing; [`Error::Asked`] for a part of a site (`z.3[0]`): a function is
    /// given the whole value.
    pub fn on(
        &mut self,
        name: &str,
        hook: impl FnMut(Tensor) -> candle_core::Result<Tensor> + 'f,
    ) -> Result<()> {
        if name.contains('[') {
            let why = "a hook is given the whole value; take the part within the function";
            return Err(Error::asked(format!("site \"{name}\""), why));
        }
        let sites = self.model.resolve(&[name])?;
        self.hooks.push((sites, Box::new(hook)));
        Ok(())
    }
}

impl Tap for Hooks<'_, '_> {
    fn wants(&self, site: Site, layer: Option<usize>) -> bool {
        let mut sites = self.hooks.iter().flat_map(|(sites, _)| sites);
        sites.any(|at| (at.site, at.layer) == (site, layer))
    }

    fn at(
        &mut self,
        site: Site,
        layer: Option<usize>,
        value: Tensor,
    ) -> engram_model::Result<Tensor> {
        let mut value = value;
        for (sites, hook) in &mut self.hooks {
            let mut sites = sites.iter();
            let Some(at) = sites.find(|at| (at.site, at.layer) == (site, layer)) else {
                continue;
            };
            let expected = value.dims().to_vec();
            // A run has one prompt.
            let given = hook(value.squeeze(0)?)?.unsqueeze(0)?;
            if given.dims() != expected {
                return Err(ModelError::TensorShape {
                    path: "(a hook)".into(),
                    name: at.name.clone(),
                    expected: expected[1..].to_vec(),
                    found: given.dims()[1..].to_vec(),
                });
            }
            value = given;
        }
        Ok(value)
    }
}

impl Model {
    /// Runs a prompt with functions at some of its sites; gives the logits, [pos, vocabulary].
    ///
    /// # Errors
    /// [`Error::Model`] for ids beyond the vocabulary, a prompt beyond the context, a function that fails or gives a value
    /// of another shape, and logits that are not finite.
    pub fn run(&self, ids: &[u32], hooks: &mut Hooks<'_, '_>) -> Result<Tensor> {
        let ids = [ids.to_vec()];
        let logits = self.forward(&ids, hooks)?;
        self.refuse_not_finite(&ids, [&logits])?;
        Ok(logits.squeeze(0)?)
    }
}
