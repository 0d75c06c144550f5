"""Answers of a trained run over HTTP, for clients that are not trusted."""
