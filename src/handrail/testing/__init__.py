"""What Handrail gives to tests of your own."""
