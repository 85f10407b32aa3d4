//! What awaits: the command line.
