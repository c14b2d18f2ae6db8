//! A schema registry that gives the answers a test tells it to give.

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use publish::registry::{Registry, RegistrySettings};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What the server answers.
#[derive(Clone, Copy, Debug)]
pub enum Answer {
    Says(u16, &'static str),
    Nothing,
}

pub struct ScriptedRegistry {
    pub url: String,
    script: Arc<Script>,
    server: tokio::task::JoinHandle<()>,
}

struct Script {
    answer: Mutex<Answer>,
    requests: Mutex<Vec<String>>,
    authorizations: Mutex<Vec<String>>,
}

impl ScriptedRegistry {
    pub async fn start(answer: Answer) -> Self {
        let script = Arc::new(Script {
            answer: Mutex::new(answer),
            requests: Mutex::default(),
            authorizations: Mutex::default(),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new()
            .fallback(respond)
            .with_state(Arc::clone(&script));
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            url,
            script,
            server,
        }
    }

    pub fn now_answers(&self, answer: Answer) {
        *self.script.answer.lock().unwrap() = answer;
    }

    /// Each request so far, as `METHOD path?query`.
    pub fn requests(&self) -> Vec<String> {
        self.script.requests.lock().unwrap().clone()
    }

    /// The `Authorization` header of each request that had one.
    pub fn authorizations(&self) -> Vec<String> {
        self.script.authorizations.lock().unwrap().clone()
    }
}

impl Drop for ScriptedRegistry {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn respond(State(script): State<Arc<Script>>, request: Request) -> Response {
    let line = format!("{} {}", request.method(), request.uri());
    script.requests.lock().unwrap().push(line);
    if let Some(value) = request.headers().get(header::AUTHORIZATION) {
        script
            .authorizations
            .lock()
            .unwrap()
            .push(value.to_str().unwrap().to_owned());
    }
    let answer = *script.answer.lock().unwrap();
    match answer {
        Answer::Says(status, body) => (StatusCode::from_u16(status).unwrap(), body).into_response(),
        Answer::Nothing => std::future::pending().await,
    }
}

/// A client whose patience ends soon enough for a test.
pub fn client(urls: &[&str]) -> Registry {
    let mut settings = RegistrySettings::new(urls.iter().copied());
    settings.timeout = Duration::from_millis(200);
    Registry::connect(&settings).unwrap()
}
