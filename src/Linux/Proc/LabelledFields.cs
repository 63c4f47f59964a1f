namespace Snapshots.Linux.Proc;

/// <summary>Finds the values in a line of "label:value" or "label: value" pairs, in any order, from left to right.</summary>
internal readonly ref struct LabelledFields(ReadOnlySpan<byte> line)
{
    private readonly ReadOnlySpan<byte> _line = line;

    public bool TryDecimal(ReadOnlySpan<byte> label, out ulong value)
    {
        value = 0;
        return TryFind(label, out var cursor) && cursor.TryDecimal(out value);
    }

    public bool TryHex(ReadOnlySpan<byte> label, out ulong value)
    {
        value = 0;
        return TryFind(label, out var cursor) && cursor.TryHex(out value);
    }

    public bool TryToken(ReadOnlySpan<byte> label, out ReadOnlySpan<byte> token)
    {
        token = default;
        return TryFind(label, out var cursor) && cursor.TryToken(out token);
    }

    // A label begins the line or follows a space, so that "mask:" is not found inside "ignored_mask:".
    private bool TryFind(ReadOnlySpan<byte> label, out TextCursor value)
    {
        value = default;
        for (var from = 0; from <= _line.Length - label.Length;)
        {
            var at = _line[from..].IndexOf(label);
            if (at < 0)
                return false;
            at += from;
            if (at == 0 || _line[at - 1] == ' ')
            {
                value = new TextCursor(_line[(at + label.Length)..]);
                value.SkipSpaces();
                return true;
            }
            from = at + 1;
        }
        return false;
    }
}
