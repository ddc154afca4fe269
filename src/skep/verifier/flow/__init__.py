"""The shape of a program, without values: is it well formed, where can control go, which registers matter later."""
