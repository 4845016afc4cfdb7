"""What people see. The only package that imports rich."""
