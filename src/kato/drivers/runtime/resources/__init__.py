"""Processors and memory of tasks: what apps ask for flows in; cgroups that hold it, and what is used, flow out."""
