from detkit.prefixes import longest_prefix, prefixes, unmatched


def test_prefixes_are_whole_components():
    assert prefixes("decoder.3.box") == ["decoder.3.box", "decoder.3", "decoder"]


def test_the_longest_one_holds():
    rules = {"decoder", "decoder.3", "dec"}
    assert longest_prefix("decoder.3.box", rules) == "decoder.3"
    assert longest_prefix("decoder.30.box", rules) == "decoder"
    assert longest_prefix("decoder_x", rules) is None


def test_rules_that_hold_for_nothing():
    assert unmatched(["b", "a", "c.d"], ["a.b", "c.de"]) == ["b", "c.d"]
