using System.Buffers.Text;
using System.Text;

namespace Snapshots.Linux.Proc;

/// <summary>Walks one piece of text from left to right. A failed Try leaves the cursor where it was.</summary>
internal ref struct TextCursor(ReadOnlySpan<byte> text)
{
    public ReadOnlySpan<byte> Rest { get; private set; } = text;

    public readonly bool AtEnd => Rest.IsEmpty;

    public void SkipSpaces()
    {
        var start = Rest.IndexOfAnyExcept((byte)' ', (byte)'\t');
        Rest = start < 0 ? default : Rest[start..];
    }

    /// <summary>Skips exactly <paramref name="literal"/>.</summary>
    public bool TrySkip(ReadOnlySpan<byte> literal)
    {
        if (!Rest.StartsWith(literal))
            return false;
        Rest = Rest[literal.Length..];
        return true;
    }

    /// <summary>The next run without spaces or tabs, after skipping those in front.</summary>
    public bool TryToken(out ReadOnlySpan<byte> token)
    {
        SkipSpaces();
        var end = Rest.IndexOfAny((byte)' ', (byte)'\t');
        token = end < 0 ? Rest : Rest[..end];
        Rest = Rest[token.Length..];
        return !token.IsEmpty;
    }

    public bool TryDecimal(out ulong value) => TryNumber('D', out value);

    public bool TryHex(out ulong value) => TryNumber('x', out value);

    public bool TryInt(out int value)
    {
        if (!Utf8Parser.TryParse(Rest, out value, out var used))
            return false;
        Rest = Rest[used..];
        return true;
    }

    /// <summary>Octal digits; fails when there are none or more than 64 bits.</summary>
    public bool TryOctal(out ulong value)
    {
        value = 0;
        var used = 0;
        while (used < Rest.Length && Rest[used] is >= (byte)'0' and <= (byte)'7')
        {
            if (value >> 61 != 0)
                return false;
            value = (value << 3) + (uint)(Rest[used++] - '0');
        }
        Rest = Rest[used..];
        return used > 0;
    }

    private bool TryNumber(char format, out ulong value)
    {
        if (!Utf8Parser.TryParse(Rest, out value, out int used, format))
            return false;
        Rest = Rest[used..];
        return true;
    }
}

/// <summary>The lines of a text, without their newline characters.</summary>
internal ref struct Lines(ReadOnlySpan<byte> text)
{
    private ReadOnlySpan<byte> _rest = text;

    public ReadOnlySpan<byte> Current { get; private set; }

    public readonly Lines GetEnumerator() => this;

    public bool MoveNext()
    {
        if (_rest.IsEmpty)
            return false;
        var end = _rest.IndexOf((byte)'\n');
        Current = end < 0 ? _rest : _rest[..end];
        _rest = end < 0 ? default : _rest[(end + 1)..];
        return true;
    }
}

/// <summary>How the kernel writes names that contain separators: a backslash and three octal digits (<c>mangle_path</c>).</summary>
internal static class EscapedText
{
    /// <summary>The name with every <c>\NNN</c> replaced by its byte, decoded as UTF-8.</summary>
    public static string Unescape(ReadOnlySpan<byte> text)
    {
        if (!text.Contains((byte)'\\'))
            return Encoding.UTF8.GetString(text);
        var plain = new byte[text.Length];
        var length = 0;
        for (var i = 0; i < text.Length; i++)
        {
            var escaped = text[i] == '\\' && i + 3 < text.Length && IsOctal(text[i + 1]) && IsOctal(text[i + 2]) && IsOctal(text[i + 3]);
            plain[length++] = escaped ? (byte)(((text[i + 1] - '0') << 6) | ((text[i + 2] - '0') << 3) | (text[i + 3] - '0')) : text[i];
            if (escaped)
                i += 3;
        }
        return Encoding.UTF8.GetString(plain, 0, length);
    }

    /// <summary>
    /// As <see cref="Unescape"/>, for files in which only newlines are escaped (maps, smaps): there a backslash is itself.
    /// </summary>
    public static string UnescapeNewlines(ReadOnlySpan<byte> text)
    {
        var name = Encoding.UTF8.GetString(text);
        return text.IndexOf("\\012"u8) < 0 ? name : name.Replace("\\012", "\n", StringComparison.Ordinal);
    }

    private static bool IsOctal(byte digit) => digit is >= (byte)'0' and <= (byte)'7';
}
