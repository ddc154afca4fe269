"""What is known at one point of a program: values, stack, frames. Nothing here decides."""
