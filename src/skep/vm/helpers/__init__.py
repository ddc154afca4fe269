"""Helpers of the vm: which C function a call becomes (table), which are refused and why (refused)."""
