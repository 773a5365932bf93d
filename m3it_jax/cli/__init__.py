"""The program `m3it`: one thin module per verb, which parses, calls and prints."""
