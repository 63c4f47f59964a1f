using Microsoft.Win32.SafeHandles;

namespace Snapshots.Linux;

/// <summary>Keeps a handle open while its number is used in a system call.</summary>
public ref struct BorrowedDescriptor
{
    private readonly SafeFileHandle _handle;
    private bool _added;

    public BorrowedDescriptor(SafeFileHandle handle)
    {
        _handle = handle;
        handle.DangerousAddRef(ref _added);
    }

    /// <summary>The descriptor's number, valid until this is disposed.</summary>
    public readonly int Number => (int)_handle.DangerousGetHandle();

    public void Dispose()
    {
        if (_added)
            _handle.DangerousRelease();
        _added = false;
    }
}
