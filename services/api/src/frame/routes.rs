//! The table of routes: method, path, handler, rule, microversions. It can be listed, so that a test can walk every route
//! with every role.

use super::{Ctx, Microversion, Reply, Rule, Service};
use axum::http::Method;
use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

type Handler = Box<dyn Fn(Ctx) -> Pin<Box<dyn Future<Output = Reply> + Send>> + Send + Sync>;

/// One call that the API has.
pub struct Route {
    pub service: Service,
    pub method: Method,
    /// With `{name}` for parameters, without a slash at the end: `/compute/v2.1/servers/{id}`.
    pub path: String,
    pub rule: Rule,
    /// The microversions in which it exists.
    pub since: Microversion,
    pub until: Microversion,
    /// The handler takes the body as a stream, unread.
    pub streams: bool,
    pub(super) handler: Handler,
}

impl Route {
    /// It exists from this microversion on.
    pub fn since(&mut self, major: u16, minor: u16) -> &mut Self {
        self.since = Microversion(major, minor);
        self
    }
    /// It exists up to this microversion.
    pub fn until(&mut self, major: u16, minor: u16) -> &mut Self {
        self.until = Microversion(major, minor);
        self
    }
    /// The body is not read before the handler runs: it may be large.
    pub fn streams(&mut self) -> &mut Self {
        self.streams = true;
        self
    }
}

/// The parameters that a path held, decoded.
#[derive(Debug, Clone, Default)]
pub struct Params(pub Vec<(String, String)>);

impl Params {
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

/// All routes of all services.
pub struct Routes {
    service: Service,
    prefixes: Vec<&'static str>,
    all: Vec<Arc<Route>>,
    paths: HashMap<String, usize>,
    /// The routes of each path pattern.
    slots: Vec<Vec<Arc<Route>>>,
    matcher: matchit::Router<usize>,
    pending: Vec<Route>,
    /// Another beginning under which the paths of the service being mounted answer too.
    alias: Option<(&'static str, &'static str)>,
}

/// What a path and a method lead to.
pub enum Found {
    Route(Arc<Route>, Params),
    /// The path exists, with these methods.
    OtherMethods(String),
    Nothing,
}

impl Default for Routes {
    fn default() -> Self {
        Self {
            service: Service::Identity,
            prefixes: vec![],
            all: vec![],
            paths: HashMap::new(),
            slots: vec![],
            matcher: matchit::Router::new(),
            pending: vec![],
            alias: None,
        }
    }
}

impl Routes {
    /// Adds a service's routes below each of these prefixes.
    pub fn mount(&mut self, service: Service, prefixes: &[&'static str], routes: fn(&mut Routes)) {
        self.service = service;
        self.prefixes = prefixes.to_vec();
        routes(self);
        for route in std::mem::take(&mut self.pending) {
            let route = Arc::new(route);
            self.all.push(route.clone());
            let other = self.alias.and_then(|(old, new)| route.path.strip_prefix(old).map(|rest| format!("{new}{rest}")));
            let paths = prefixes.iter().flat_map(|p| std::iter::once(&route.path).chain(&other).map(move |path| format!("{p}{path}")));
            for path in paths.collect::<Vec<_>>() {
                let path = if path.is_empty() { "/".to_owned() } else { path };
                let slot = *self.paths.entry(path.clone()).or_insert_with(|| {
                    self.slots.push(vec![]);
                    let slot = self.slots.len() - 1;
                    if let Err(e) = self.matcher.insert(path.clone(), slot) {
                        panic!("the route {path} can't be told from another: {e}");
                    }
                    slot
                });
                self.slots[slot].push(route.clone());
            }
        }
        self.alias = None;
    }
    /// The service's paths that begin with `path` answer under `also` too.
    pub fn alias(&mut self, path: &'static str, also: &'static str) {
        self.alias = Some((path, also));
    }
    pub fn get<F: Future<Output = Reply> + Send + 'static>(&mut self, path: &str, handler: fn(Ctx) -> F, rule: Rule) -> &mut Route {
        self.route(Method::GET, path, handler, rule)
    }
    pub fn post<F: Future<Output = Reply> + Send + 'static>(&mut self, path: &str, handler: fn(Ctx) -> F, rule: Rule) -> &mut Route {
        self.route(Method::POST, path, handler, rule)
    }
    pub fn put<F: Future<Output = Reply> + Send + 'static>(&mut self, path: &str, handler: fn(Ctx) -> F, rule: Rule) -> &mut Route {
        self.route(Method::PUT, path, handler, rule)
    }
    pub fn patch<F: Future<Output = Reply> + Send + 'static>(&mut self, path: &str, handler: fn(Ctx) -> F, rule: Rule) -> &mut Route {
        self.route(Method::PATCH, path, handler, rule)
    }
    pub fn delete<F: Future<Output = Reply> + Send + 'static>(&mut self, path: &str, handler: fn(Ctx) -> F, rule: Rule) -> &mut Route {
        self.route(Method::DELETE, path, handler, rule)
    }
    /// For a HEAD that differs from GET; otherwise HEAD is GET without the body.
    pub fn head<F: Future<Output = Reply> + Send + 'static>(&mut self, path: &str, handler: fn(Ctx) -> F, rule: Rule) -> &mut Route {
        self.route(Method::HEAD, path, handler, rule)
    }
    fn route<F: Future<Output = Reply> + Send + 'static>(
        &mut self,
        method: Method,
        path: &str,
        handler: fn(Ctx) -> F,
        rule: Rule,
    ) -> &mut Route {
        self.pending.push(Route {
            service: self.service,
            method,
            path: path.to_owned(),
            rule,
            since: Microversion(0, 0),
            until: Microversion(u16::MAX, u16::MAX),
            streams: false,
            handler: Box::new(move |ctx| Box::pin(handler(ctx))),
        });
        let last = self.pending.len() - 1;
        &mut self.pending[last]
    }
    /// Every route, in the order of declaration.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.all.iter()
    }
    /// Looks a request up. `version` picks among routes of one path that exist in different microversions.
    pub fn find(&self, method: &Method, path: &str, version: Microversion) -> Found {
        let path = if path.len() > 1 { path.trim_end_matches('/') } else { path };
        let path = if path.is_empty() { "/" } else { path };
        let Ok(found) = self.matcher.at(path) else { return Found::Nothing };
        let slot = &self.slots[*found.value];
        let exists = |r: &&Arc<Route>| r.since <= version && version <= r.until;
        let with = |m: &Method| slot.iter().filter(exists).find(|r| r.method == *m);
        let route = with(method).or_else(|| if method == Method::HEAD { with(&Method::GET) } else { None });
        match route {
            Some(route) => {
                let decode = |v: &str| percent_encoding::percent_decode_str(v).decode_utf8_lossy().into_owned();
                let params = found.params.iter().map(|(k, v)| (k.to_owned(), decode(v))).collect();
                Found::Route(route.clone(), Params(params))
            }
            None => {
                let methods: Vec<&str> = slot.iter().filter(exists).map(|r| r.method.as_str()).collect();
                if methods.is_empty() { Found::Nothing } else { Found::OtherMethods(methods.join(", ")) }
            }
        }
    }
}
