"""The tests of asking servers."""
