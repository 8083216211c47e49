//! What a commit comes to: a plan is carried out plainly, then the base must be what the
//! tree showed, and the tree what it was.

#[path = "commit_plan/choices.rs"]
mod choices;
#[path = "commit_plan/conflicts.rs"]
mod conflicts;
#[path = "commit_plan/executor.rs"]
mod executor;
#[path = "commit_plan/full.rs"]
mod full;
#[path = "changes/naive.rs"]
#[allow(dead_code)]
mod naive;
#[path = "changes/scene.rs"]
#[allow(dead_code)]
mod scene;
#[path = "commit_plan/trial.rs"]
mod trial;
#[path = "commit_plan/view.rs"]
mod view;
