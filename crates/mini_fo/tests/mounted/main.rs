//! Mounted tests: the program itself, seen through the kernel. Each test ends
//! with the proof that its base is byte- and metadata-identical.

mod common;

mod badinput;
mod base_safety;
mod check;
mod cli;
mod closed;
mod copyup;
mod daily;
mod defects;
mod descriptors;
mod dirs;
mod documents;
mod failed_mounts;
mod failing;
mod forgotten;
mod format2005;
mod full;
mod identity;
mod ids;
mod install;
mod interleave;
mod kept;
mod layers;
mod listing;
mod live;
mod load;
mod newcomer;
mod numbers;
mod options;
mod owners;
mod partial;
mod partial_base;
mod partial_edges;
mod partial_holes;
mod poor;
mod printed;
mod programs;
mod rebuilt;
mod recipes;
mod rights;
mod rights_space;
mod strangers;
mod submounts;
mod user;
